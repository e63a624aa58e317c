"""CLAP: audio and text in one space, by contrast (arXiv 2206.04769, arXiv 2211.06687)."""

from __future__ import annotations

from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.hts_at import HtsAtConfig
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.objectives.text.clap import ClapConfig
from auricle.objectives.text.pretrained_text import PretrainedTextConfig
from auricle.objectives.text.text_tower import WordTowerConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

CLAP = Method(
    name="clap",
    paradigm="multimodal",
    summary="CLAP: bring a clip and its caption together, apart from all others of the batch.",
    learns="tests/learning/test_learn_clap.py",
)
NOTES = Notes(
    method="clap",
    reference=Reference(
        title="Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption "
        "Augmentation",
        authors="Yusong Wu, Ke Chen, Tianyu Zhang, Yuchen Hui, Taylor Berg-Kirkpatrick, Shlomo Dubnov",
        arxiv="2211.06687",
        section="3 (method), 4 (set-up), and numbers of the released code; CLAP itself: Elizalde et al., arXiv "
        "2206.04769",
    ),
    faithful=(
        "two towers, each with a projection of two layers to 512 numbers (tiny: 128)",
        "symmetric cross-entropy over the batch of all ranks, gathered with gradient",
        "learned temperature that begins at 0.07",
        "short clips are repeated, long ones cropped at random",
    ),
    deviations=(
        "no masking of the spectrogram in training, and mel bands of the HTK scale",
        "no feature fusion: a random part stands for a clip longer than the window (the published model without "
        "fusion)",
        "no captions made of keywords by a language model; a template over a label column (objective.template) "
        "replaces them, and that is training with labels",
    ),
    not_specified=searched(
        "paper, released code",
        "the bound of the temperature: its inverse is at most 100, as in CLIP (chosen)",
        "the nonlinearity of the projections: ReLU (chosen)",
        "the size of the corpus: an epoch is counted as 630,000 pairs (chosen)",
    ),
    cost="both towers once a clip; the similarities grow with the square of the batch. Gradient caching "
    "(train.micro_batch) bounds the memory of both towers for encoders without BatchNorm; HTS-AT has one on its input, "
    "so there the batch must fit the ranks' memory",
    when_to_use="when clips have descriptions: the only method here that supports queries in words (zero-shot classes, "
    "search by text). Captions written from labels make it training with labels: report that with its results",
)

# Steps of an epoch of 630,000 pairs at a batch of 2304.
_EPOCH = 273


@CLAP.size("paper")
def clap_paper() -> Recipe:
    """LAION-CLAP: HTS-AT and RoBERTa, batch 2304 for 45 epochs."""
    return Recipe(
        name="clap",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        frontend=preset("clap48"),
        augment=PlainViewsConfig(),
        encoder=HtsAtConfig.size("base"),
        objective=ClapConfig(
            text=PretrainedTextConfig(model="roberta-base"),
            dim=512,
            head=MlpHeadConfig(hidden=(512,), activation="relu"),
            same_text="contrast",
        ),
        window=WindowConfig(seconds=10.0, short="repeat"),
        loader=LoaderConfig(batch=2304, workers=-1),
        train=TrainConfig(steps=45 * _EPOCH, warmup_steps=3200, lr=1e-4, weight_decay=0.0, save_every=_EPOCH),
    )


@CLAP.size("tiny")
def clap_tiny() -> Recipe:
    """Small scale: batch 64 for 1500 steps; downloads nothing."""
    return Recipe(
        name="clap",
        size="tiny",
        notes=NOTES.with_deviations(
            "HTS-AT of width 32 on 2.55 s at 16 kHz, image of 128 x 128, windows of 4; published: width 96 on 10 s at "
            "48 kHz",
            "a BERT of 2 layers and width 128 with random weights, over the words of the corpus's captions; published: "
            "RoBERTa, pre-trained",
            "clips of the batch with the very same caption are no negatives (few captions repeat often)",
            "batch 64 for 1500 steps at 5e-4; published: batch 2304 for 45 epochs at 1e-4",
            *small_scale.DEVIATIONS,
        ),
        frontend=LogMelConfig(),
        augment=PlainViewsConfig(),
        encoder=HtsAtConfig.size("tiny", fold=2, clip_frames=256, window=4),
        objective=ClapConfig(
            text=WordTowerConfig(), dim=128, head=MlpHeadConfig(hidden=(128,), activation="relu"), same_text="ignore"
        ),
        window=small_scale.window(2.55),
        loader=small_scale.loader(64),
        train=small_scale.train(1500, 5e-4),
    )
