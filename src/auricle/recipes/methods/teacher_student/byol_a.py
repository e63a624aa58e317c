"""BYOL-A, versions 1 and 2: one view of a second of sound predicts what a slow teacher makes of another view."""

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
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

# AudioSet's 1,963,807 clips in batches of 256, a hundred times.
_STEPS = 1_963_807 // 256 * 100
_ALWAYS = (
    "log-mixup: a batch enters the memory bank once, after its views are made; the release puts every clip in twice "
    "and may mix a clip with itself",
    "over several processes, the joint normalisation of both views goes by each process's own clips",
    "AdamW without weight decay (the same as the published Adam)",
)
_FIRST = (
    "mean and deviation of the corpus are measured before training; published: running ones, frozen after some batches",
    "silence follows clips that are shorter than a view; published: half of it goes before them",
)
_TINY = (
    *small_scale.DEVIATIONS,
    "heads 1024 wide, batch 64; published: 4096, batch 256, 100 epochs of AudioSet (767,100 steps)",
    "a narrower encoder (0.83 M parameters, version 1: 0.60 M); published: 6.33 M, version 1: up to 5.32 M",
)


def _byol_a(size: str, reference: Reference, version: str, lr: float, ratio: float, fader: bool) -> Recipe:
    paper, late = size == "paper", version == "2022"
    mixed = (LogMixupExpConfig(ratio=ratio, entries=2048), ResizeCropConfig())
    small = AudioNTTConfig(version="2022", width=1536, hidden=512) if late else AudioNTTConfig.size("tiny")
    head = byol_head(4096, 256) if paper else byol_head(1024, 256)
    return Recipe(
        name="byol-a" if late else "byol-a-v1",
        size=size,
        reference=reference,
        deviations=(*_ALWAYS, *(() if late else _FIRST), *(() if paper else _TINY)),
        kept=(
            "64 mel bands of 64-ms frames, 96 frames; statistics of the corpus",
            f"views of one crop: log-mixup-exp (up to {ratio:g}), random resize crop on a canvas half as long again"
            + (", linear fader" if fader else "")
            + "; then both views are normalised together",
            "projector and predictor with BatchNorm, 256 numbers out; teacher: constant decay 0.99 of encoder and "
            "projector, BatchNorm by its own batch; symmetric 2 - 2 cos; constant learning rate",
        ),
        unknown=(
            "first weights of the heads: uniform within the inverse root of their inputs",
            "the teacher follows after every step (the release does so one step later)",
        ),
        cost="two passes of the student and two of the teacher a step, of a small convolutional net; the memory bank "
        "of 2,048 clips takes 50 MB",
        choose="short sounds and little compute: a convolutional encoder that takes any length and works on speech, "
        "music and environment alike; no negatives, so small batches do",
        window=WindowConfig(seconds=0.95, short="pad", crop="random") if paper else small_scale.window(0.95),
        loader=LoaderConfig(batch=256, workers=-1) if paper else small_scale.loader(64),
        frontend=preset("ntt64_v2" if late else "ntt64"),
        augment=ViewPlanConfig(
            crop=CropConfig(seconds=0.95, short="silence"),
            feature=(*mixed, LinearFaderConfig(gain=1.0)) if fader else mixed,
            joint="standardise",
        ),
        encoder=AudioNTTConfig.size("2022" if late else "base") if paper else small,
        objective=BootstrapConfig(
            projector=head, predictor=head, teacher=TeacherConfig(decay=0.99, end=0.99), teacher_by_batch=True
        ),
        train=TrainConfig(steps=_STEPS, lr=lr, schedule="constant", warmup_steps=0, weight_decay=0.0, save_every=7671)
        if paper
        else small_scale.train(1200, 3e-4, schedule="constant", weight_decay=0.0),
    )


@recipe("byol-a", sizes=("tiny", "paper"), paradigm="teacher-student")
def byol_a(size: str = "tiny") -> Recipe:
    """BYOL-A 2: two views of a second, mixed, resized and faded, predict each other through a slow teacher.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    reference = Reference(
        title="BYOL for Audio: Exploring Pre-trained General-purpose Audio Representations",
        authors="Niizumi, Takeuchi, Ohishi, Harada, Kashino", arxiv="2204.07402",
        section="III, and the released configuration",
    )  # fmt: skip
    return _byol_a(size, reference, "2022", lr=1e-4, ratio=0.2, fader=True)


@recipe("byol-a-v1", sizes=("tiny", "paper"), paradigm="teacher-student")
def byol_a_v1(size: str = "tiny") -> Recipe:
    """BYOL-A 1: the first version, with stronger mixing, without fader, and a plainer encoder.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    reference = Reference(
        title="BYOL for Audio: Self-Supervised Learning for General-Purpose Audio Representation",
        authors="Niizumi, Takeuchi, Ohishi, Harada, Kashino", arxiv="2103.06695",
        section="III, IV, and the released configuration",
    )  # fmt: skip
    return _byol_a(size, reference, "2020", lr=3e-4, ratio=0.4, fader=False)
