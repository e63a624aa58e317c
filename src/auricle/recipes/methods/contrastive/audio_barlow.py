"""Audio Barlow Twins: BYOL-A's views, and a cross-correlation that becomes the identity (arXiv 2209.14345)."""

from __future__ import annotations

from auricle.objectives.contrastive.pair_losses import BarlowConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.teacher_student.byol_a import byol_a_paper, byol_a_tiny

AUDIO_BARLOW = Method(
    name="audio-barlow",
    paradigm="contrastive",
    summary="Audio Barlow Twins: make each dimension agree across two views of a clip and repeat no other dimension.",
)
NOTES = Notes(
    method="audio-barlow",
    reference=Reference(
        title="Audio Barlow Twins: Self-Supervised Audio Representation Learning",
        authors="Anton et al.",
        arxiv="2209.14345",
        section="the idea, the released code and its defaults; the loss is equation 1 of Barlow Twins, arXiv "
        "2103.03230",
    ),
    faithful=(
        "BYOL-A's front end, crops and views",
        "the loss: squared distance of the views' cross-correlation from the identity; no teacher, no predictor, no "
        "negatives; off-diagonal terms weigh 0.005",
        "projector of one hidden layer of 8192 with BatchNorm, 256 out, without biases; batch 128 (paper)",
    ),
    deviations=(
        "log-mixup: a batch enters the memory bank once, after its views are made",
        "both views are normalised together, as in BYOL-A, over several processes by each one's own clips; released "
        "code: an option that is off",
        "AdamW at a constant 1e-4 without weight decay, steps of this library's BYOL-A 2; released code: LARS at 0.4 "
        "(biases 0.0048) with decay 1e-5, 100 epochs",
    ),
    cost="two passes of the encoder per step, no teacher: about half of BYOL-A; the loss grows with the square of the "
    "projector's width",
    when_to_use="instead of BYOL-A where collapse is a worry: the loss itself penalises dimensions that repeat each "
    "other",
)


def _objective(hidden: tuple[int, ...], out: int) -> ContrastiveConfig:
    return ContrastiveConfig(
        loss=BarlowConfig(off_diagonal=0.005),
        projector=ProjectorConfig(hidden=hidden, out=out, norm="batch", end="none", bias=False, draw="uniform"),
        mask=MaskConfig(mode="none"),
    )


@AUDIO_BARLOW.size("paper")
def audio_barlow_paper() -> Recipe:
    """BYOL-A 2's constants with Barlow Twins' loss."""
    base = byol_a_paper()
    return base.replace(
        name="audio-barlow", notes=NOTES, loader=base.loader.replace(batch=128), objective=_objective((8192,), 256)
    )


@AUDIO_BARLOW.size("tiny")
def audio_barlow_tiny() -> Recipe:
    """Small scale: batch 64 for 1200 steps."""
    return byol_a_tiny().replace(
        name="audio-barlow",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            "projector of three layers 512 wide with BatchNorm; released code: one hidden layer of 8192, 256 out",
            "batch 64 for 1200 steps; released code: batch 128",
            "a narrower encoder: 0.83 M parameters; BYOL-A 2's has 6.33 M",
        ),
        objective=_objective((512, 512), 512),
    )
