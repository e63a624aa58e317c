"""Dasheng: masked autoencoding of frames at scale (arXiv 2406.06992, Interspeech 2024)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import GroupMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.audio_mae import audio_mae
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

_EPOCH = 15_000


@recipe("dasheng", sizes=("tiny", "paper"), paradigm="reconstruction")
def dasheng(size: str = "tiny") -> Recipe:
    """Dasheng: tokens of 40 ms over all frequencies, hidden in pairs; a plain decoder reconstructs three quarters.

    Args:
        size: `paper` has the published constants (base; `encoder` from layout('dasheng', '0.6B') or '1.2B' are its
            large ones); `tiny` is for hours of audio and two cores.
    """
    paper, base = size == "paper", audio_mae(size)
    decoder = TransformerDecoderConfig() if paper else TransformerDecoderConfig(width=128, depth=2, heads=4)
    return base.replace(
        name="dasheng",
        reference=Reference(
            title="Scaling up masked audio encoder learning for general audio classification",
            authors="Heinrich Dinkel, Zhiyong Yan, Yongqing Wang, Junbo Zhang, Yujun Wang, Bin Wang",
            arxiv="2406.06992",
            section="2 (method), 3, and numbers of the released code",
        ),
        deviations=(
            "natural logarithms instead of decibels, which the encoder's batch normalisation makes alike",
            *(
                ("AdamW in 32 bits; published: its 8-bit variant",)
                if paper
                else (
                    "encoder of width 192 on 2.56 s, decoder of 2 blocks of width 128; published: width 768 on 10.08 "
                    "s, 8 blocks of 512",
                    "batch 64 for 1500 steps; published: batch 256 for 1.5 million steps on 272 000 hours",
                    *small_scale.DEVIATIONS,
                )
            ),
        ),
        kept=(
            "64 mel bins, tokens of 4 frames over all bins, 25 a second; 75 % hidden in groups of two neighbours",
            "batch normalisation of each mel bin as the encoder's first layer; times and frequencies learned apart",
            "squared error of tokens that are standardised one by one; plain decoder over all tokens",
        ),
        unknown=(
            "whether the target is taken before or after the batch normalisation: before (chosen)",
            "betas of the optimiser: 0.9 and 0.95, as in Audio-MAE (chosen)",
        ),
        cost="a quarter of 25 tokens a second in the encoder: little for the length of audio that it hears",
        choose="one sequence of tokens in time is wanted (speech, events) from much audio of any kind",
        measure_statistics=False,
        frontend=preset("dasheng64"),
        augment=PlainViewsConfig(),
        encoder=layout("dasheng", "base" if paper else "tiny", frames=1008 if paper else 260),
        objective=base.objective.replace(mask=GroupMask(group=2, keep=0.25), decoder=decoder),
        # 1008 frames that are centred on multiples of the hop.
        window=base.window.replace(seconds=10.07 if paper else 2.56, short="repeat"),
        loader=LoaderConfig(batch=256, workers=-1) if paper else base.loader,
        train=TrainConfig(
            steps=100 * _EPOCH,
            warmup_steps=3 * _EPOCH,
            lr=3e-4,
            betas=(0.9, 0.95),
            weight_decay=0.01,
            save_every=_EPOCH,
        )
        if paper
        else base.train.replace(weight_decay=0.01),
    )
