"""COLA: two crops of one recording belong together (arXiv 2010.10915)."""

from __future__ import annotations

from auricle.audio.frontends.clip_log_mel import LevelLogMelConfig
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.wave_ops import WaveNoiseConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.efficientnet import EfficientNetConfig
from auricle.objectives.contrastive.pair_losses import InBatchConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

COLA = Method(
    name="cola",
    paradigm="contrastive",
    summary="COLA: find the other crop of the same clip in a batch, by a learned bilinear similarity.",
    learns="tests/learning/test_learn_cola.py",
)
NOTES = Notes(
    method="cola",
    reference=Reference(
        title="Contrastive Learning of General-Purpose Audio Representations",
        authors="Saeed, Grangier, Zeghidour",
        arxiv="2010.10915",
        section="2, 3, and the released code",
    ),
    faithful=(
        "two random segments of 0.96 s of one clip of unit norm; white noise of deviation 0.001 on the second one",
        "64 mel bands of 25-ms frames, not normalised by a corpus",
        "EfficientNet, its BatchNorm over both segments of all clips; global maximum, linear layer to 512, LayerNorm, "
        "tanh",
        "bilinear similarity without temperature; softmax over the batch in one direction",
    ),
    deviations=(
        "level: the front end scales its input to one mean power, so that the encoder meets the same level wherever it "
        "is used; published: whole clips of unit norm, whose loud and quiet segments keep their levels",
        "97 frames of 0.96 s, centred, the first and the last one reflected; released code: segments of 1 s, 98 frames",
        "mel energies of the power spectrum, plus 1.2e-7; released code: of magnitudes, at least 1e-5",
        "AdamW without weight decay (the same as the published Adam)",
    ),
    not_specified=searched(
        "paper, released code",
        "stochastic depth of the encoder: 0.2, as in EfficientNet",
    ),
    cost="two passes of a small convolutional net per step; the loss grows with the square of the batch, which is "
    "negligible up to some thousands",
    when_to_use="recordings longer than a second whose parts sound alike (speakers, places, species, machines); the "
    "larger the batch the better; not where the label changes from second to second",
)

_MATRIX = "the bilinear matrix begins as a scaled dot product; released code: random"


@COLA.size("paper")
def cola_paper() -> Recipe:
    """EfficientNet-B0, batch 1024 for 100,000 steps."""
    return Recipe(
        name="cola",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        window=WindowConfig(seconds=10.0, short="pad", crop="random"),
        loader=LoaderConfig(batch=1024, workers=-1),
        frontend=LevelLogMelConfig(window=400),
        augment=ViewPlanConfig(
            crop=CropConfig(seconds=0.96, each=True, short="silence"),
            level="l2",
            level_over="clip",
            wave=(WaveNoiseConfig(sigma=(0.001, 0.001)),),
            clean=(0,),
        ),
        encoder=EfficientNetConfig.size("base"),
        objective=ContrastiveConfig(
            loss=InBatchConfig(similarity="bilinear", symmetric=False, draw="normal"),
            projector=ProjectorConfig(hidden=(), out=512, end="layer_tanh", bias=True, draw="uniform"),
            mask=MaskConfig(mode="none"),
            norm_scope="joint",
        ),
        train=TrainConfig(
            steps=100_000, lr=1e-4, schedule="constant", warmup_steps=0, weight_decay=0.0, save_every=1000
        ),
    )


@COLA.size("tiny")
def cola_tiny() -> Recipe:
    """Small scale: AudioNTT (0.60 M parameters), batch 64 for 1800 steps."""
    paper = cola_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            "AudioNTT of BYOL-A (0.60 M parameters), its clip vector maximum plus mean over time, instead of "
            "EfficientNet-B0, whose features lose their rank in short runs; batch 64, published: 1024",
            _MATRIX,
        ),
        window=small_scale.window(5.12),
        loader=small_scale.loader(64),
        encoder=AudioNTTConfig.size("tiny"),
        objective=paper.objective.replace(loss=InBatchConfig(similarity="bilinear", symmetric=False, draw="identity")),
        train=small_scale.train(1800, 1e-3, schedule="constant", weight_decay=0.0),
    )


@COLA.size("small")
def cola_small() -> Recipe:
    """AudioNTT of 1.65 M parameters, batch 256 for 20,000 steps."""
    notes = NOTES.with_deviations(
        *small_scale.DEVIATIONS,
        "AudioNTT of BYOL-A (1.65 M parameters), its clip vector maximum plus mean over time, instead of "
        "EfficientNet-B0; batch 256, published: 1024",
        _MATRIX,
    )
    return small_scale.grown(cola_tiny(), notes, batch=256, steps=20_000, encoder=AudioNTTConfig.size("small"))
