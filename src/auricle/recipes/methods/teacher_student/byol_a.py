"""BYOL-A, versions 1 and 2: one view of a second of sound predicts a slow teacher's output for another view."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.feature_mixing import LogMixupExpConfig
from auricle.audio.ops.feature_ops import LinearFaderConfig, ResizeCropConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.objectives.predictive.bootstrap import BootstrapConfig, byol_head
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

BYOL_A = Method(
    name="byol-a",
    paradigm="teacher-student",
    summary="BYOL-A 2: two views of a second, mixed, resized and faded, predict each other through a slow teacher.",
    learns="tests/learning/test_learn_byol_a.py",
)
BYOL_A_V1 = Method(
    name="byol-a-v1",
    paradigm="teacher-student",
    summary="BYOL-A 1: the first version, with stronger mixing, without fader, and a plainer encoder.",
)
# Of every recipe with BYOL-A's views and optimiser.
VIEWS_DEVIATIONS = (
    "log-mixup: a batch enters the memory bank once, after its views are made; the release puts every clip in twice "
    "and may mix a clip with itself",
    "over several processes, the joint normalisation of both views goes by each process's own clips",
    "AdamW without weight decay (the same as the published Adam)",
)
_INPUT = "64 mel bands of 64-ms frames, 96 frames; statistics of the corpus"
_HEADS = (
    "projector and predictor with BatchNorm, 256 numbers out; teacher: constant decay 0.99 of encoder and projector, "
    "BatchNorm by its own batch; symmetric 2 - 2 cos; constant learning rate"
)
NOTES = Notes(
    method="byol-a",
    reference=Reference(
        title="BYOL for Audio: Exploring Pre-trained General-purpose Audio Representations",
        authors="Niizumi, Takeuchi, Ohishi, Harada, Kashino",
        arxiv="2204.07402",
        section="III, and the released configuration",
    ),
    faithful=(
        _INPUT,
        "views of one crop: log-mixup-exp (up to 0.2), random resize crop on a canvas half as long again, linear "
        "fader; then both views are normalised together",
        _HEADS,
    ),
    deviations=VIEWS_DEVIATIONS,
    not_specified=searched(
        "papers, released code and its configuration",
        "first weights of the heads: uniform within the inverse root of their inputs",
        "the teacher follows after every step (the release does so one step later)",
    ),
    cost="two passes of the student and two of the teacher per step, of a small convolutional net; the memory bank of "
    "2,048 clips takes 50 MB",
    when_to_use="short sounds and little compute: a convolutional encoder that takes any length and works on speech, "
    "music and environment alike; no negatives, so small batches suffice",
)
V1_NOTES = NOTES.replace(
    method="byol-a-v1",
    reference=Reference(
        title="BYOL for Audio: Self-Supervised Learning for General-Purpose Audio Representation",
        authors="Niizumi, Takeuchi, Ohishi, Harada, Kashino",
        arxiv="2103.06695",
        section="III, IV, and the released configuration",
    ),
    faithful=(
        _INPUT,
        "views of one crop: log-mixup-exp (up to 0.4), random resize crop on a canvas half as long again; then both "
        "views are normalised together",
        _HEADS,
    ),
    deviations=(
        *VIEWS_DEVIATIONS,
        "mean and deviation of the corpus are measured before training; published: running ones, frozen after some "
        "batches",
        "silence follows clips that are shorter than a view; published: half of it goes before them",
    ),
    when_to_use="to compare with the first version as published; the second adds the fader and a larger encoder",
)

# AudioSet's 1,963,807 clips in batches of 256, a hundred times.
_STEPS = 1_963_807 // 256 * 100
_CROP = CropConfig(seconds=0.95, short="silence")


def _narrower(notes: Notes, heads: int, batch: int, parameters: str, published: str = "6.33 M") -> Notes:
    return notes.with_deviations(
        *small_scale.DEVIATIONS,
        f"heads {heads} wide, batch {batch}; published: 4096, batch 256, 100 epochs of AudioSet (767,100 steps)",
        "learning rate 1e-3 with half a cosine, which learns faster in a short run; published: constant",
        f"a narrower encoder ({parameters} parameters); published: {published}",
    )


def _heads(hidden: int) -> BootstrapConfig:
    head = byol_head(hidden, 256)
    return BootstrapConfig(
        projector=head, predictor=head, teacher=TeacherConfig(decay=0.99, end=0.99), teacher_by_batch=True
    )


@BYOL_A.size("paper")
def byol_a_paper() -> Recipe:
    """6.33 M parameters, batch 256 for 100 epochs of AudioSet."""
    return Recipe(
        name="byol-a",
        size="paper",
        notes=NOTES,
        window=WindowConfig(seconds=0.95, short="pad", crop="random"),
        loader=LoaderConfig(batch=256, workers=-1),
        frontend=preset("ntt64_v2"),
        augment=ViewPlanConfig(
            crop=_CROP,
            feature=(LogMixupExpConfig(ratio=0.2, entries=2048), ResizeCropConfig(), LinearFaderConfig(gain=1.0)),
            joint="standardise",
        ),
        encoder=AudioNTTConfig.size("2022"),
        objective=_heads(4096),
        train=TrainConfig(
            steps=_STEPS, lr=1e-4, schedule="constant", warmup_steps=0, weight_decay=0.0, save_every=7671
        ),
    )  # fmt: skip


@BYOL_A.size("tiny")
def byol_a_tiny() -> Recipe:
    """Small scale: 0.83 M parameters, batch 64 for 1200 steps."""
    return byol_a_paper().replace(
        size="tiny",
        notes=_narrower(NOTES, 1024, 64, "0.83 M"),
        window=small_scale.window(0.95),
        loader=small_scale.loader(64),
        encoder=AudioNTTConfig(version="2022", width=1536, hidden=512),
        objective=_heads(1024),
        train=small_scale.train(1200, 1e-3, weight_decay=0.0),
    )


@BYOL_A.size("small")
def byol_a_small() -> Recipe:
    """2.14 M parameters, batch 128 for 25,000 steps."""
    notes = _narrower(NOTES, 2048, 128, "2.14 M")
    encoder = AudioNTTConfig(version="2022", width=2048, hidden=1024)
    return small_scale.grown(byol_a_tiny(), notes, batch=128, steps=25_000, encoder=encoder, objective=_heads(2048))


def _first_version(base: Recipe, notes: Notes) -> Recipe:
    """Return a recipe of version 2 with the front end and the views of version 1."""
    views = base.augment.replace(feature=(LogMixupExpConfig(ratio=0.4, entries=2048), ResizeCropConfig()))
    return base.replace(name="byol-a-v1", notes=notes, frontend=preset("ntt64"), augment=views)


@BYOL_A_V1.size("paper")
def byol_a_v1_paper() -> Recipe:
    """Up to 5.32 M parameters, learning rate 3e-4."""
    base = byol_a_paper()
    return _first_version(base, V1_NOTES).replace(
        encoder=AudioNTTConfig.size("base"), train=base.train.replace(lr=3e-4)
    )


@BYOL_A_V1.size("tiny")
def byol_a_v1_tiny() -> Recipe:
    """Small scale: 0.60 M parameters, batch 64 for 1200 steps."""
    notes = _narrower(V1_NOTES, 1024, 64, "0.60 M", published="up to 5.32 M")
    return _first_version(byol_a_tiny(), notes).replace(encoder=AudioNTTConfig.size("tiny"))
