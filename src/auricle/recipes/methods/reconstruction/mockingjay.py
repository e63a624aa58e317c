"""Mockingjay: a bidirectional transformer over frames that reconstructs masked ones (arXiv 1910.12638, ICASSP 2020)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.corruption import DiceSpansConfig
from auricle.objectives.predictive.altered_regression import AlteredRegressionConfig
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig


@recipe("mockingjay", sizes=("tiny", "paper"), paradigm="reconstruction")
def mockingjay(size: str = "tiny") -> Recipe:
    """Mockingjay: spans of frames are zeroed, swapped or left, and a BERT-like encoder reconstructs them.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    return Recipe(
        name="mockingjay",
        size=size,
        reference=Reference(
            title="Mockingjay: Unsupervised Speech Representation Learning with Deep Bidirectional Transformer "
            "Encoders",
            authors="Andy T. Liu, Shu-wen Yang, Po-Han Chi, Po-chun Hsu, Hung-yi Lee",
            arxiv="1910.12638",
            section="2.2, 2.3, and numbers of s3prl's code",
        ),
        deviations=(
            "input and target are 80 log-mel bins, as in s3prl; the paper has 160 values (mel and differences), three "
            "frames stacked, and its large size predicts a linear spectrogram",
            *(
                ("utterances are cut at 29.9 s",)
                if paper
                else (
                    "encoder of width 192 on 2.56 s; published: width 768 on whole utterances",
                    "batch 32 for 1500 steps at 5e-4; published: a million steps at 2e-4",
                    *small_scale.DEVIATIONS,
                )
            ),
        ),
        kept=(
            "15 % of the frames in spans of 7; one dice a clip: 80 % zeroed, 10 % replaced by others, 10 % kept",
            "three post-norm layers with dropout 0.1 on frames, sinusoid positions; head of two layers with LayerNorm",
            "absolute error on the chosen frames; each utterance's bins normalised by their own mean and variance",
        ),
        unknown=(
            "decay of the weights 0.01, linear schedule after the warm-up, no clipping of gradients (chosen)",
            "transform of 400 samples, mel bins from 0 to 8 kHz (chosen); nonlinearity of the head: GELU (chosen)",
        ),
        cost="all frames in every layer: attention over 100 tokens a second; few layers",
        choose="speech, small encoders, frame-wise answers; simple to change, because it alters the input only",
        measure_statistics=False,
        frontend=preset("s3prl80"),
        augment=PlainViewsConfig(),
        encoder=layout("mockingjay", "base") if paper else layout("mockingjay", "tiny", frames=320, heads=4),
        objective=MaskedPredictionConfig(
            mask=None,
            hide="none",
            corruption=DiceSpansConfig(share=0.15, span=7, zero=0.8, swap=0.1),
            decoder=NoDecoderConfig(),
            terms=(AlteredRegressionConfig(head=MlpHeadConfig((768 if paper else 192,), norm="after")),),
        ),
        window=WindowConfig(seconds=29.9, variable=True) if paper else small_scale.window(2.56),
        loader=LoaderConfig(batch=32, workers=-1, buckets=8) if paper else small_scale.loader(32),
        train=TrainConfig(
            steps=1_000_000, warmup_steps=70_000, lr=2e-4, schedule="linear", weight_decay=0.01, save_every=5000
        )
        if paper
        else small_scale.train(1500, 5e-4, schedule="linear", weight_decay=0.01),
    )
