"""Audio Barlow Twins: BYOL-A's views, and a cross-correlation that becomes the identity (arXiv 2209.14345)."""

from __future__ import annotations

from auricle.objectives.contrastive.pair_losses import BarlowConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.teacher_student.byol_a import VIEWS_DEVIATIONS, byol_a_paper, byol_a_tiny

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
        section="the idea; the loss is equation 1 of Barlow Twins, arXiv 2103.03230",
    ),
    faithful=(
        "BYOL-A's front end, crops and views, both views normalised together",
        "the loss: squared distance of the views' cross-correlation from the identity; no teacher, no predictor, no "
        "negatives",
    ),
    deviations=(
        *VIEWS_DEVIATIONS,
        "encoder, learning rate and number of steps are those of this library's BYOL-A 2",
    ),
    not_specified=("weight of the off-diagonal terms: 0.005, as in Barlow Twins",),
    cost="two passes of the encoder per step, no teacher: about half of BYOL-A; the loss grows with the square of the "
    "projector's width",
    when_to_use="instead of BYOL-A where collapse is a worry: the loss itself penalises dimensions that repeat each "
    "other",
)


def _objective(width: int) -> ContrastiveConfig:
    return ContrastiveConfig(
        loss=BarlowConfig(off_diagonal=0.005),
        projector=ProjectorConfig(
            hidden=(width, width), out=width, norm="batch", end="none", bias=False, draw="uniform"
        ),
        mask=MaskConfig(mode="none"),
    )


@AUDIO_BARLOW.size("paper")
def audio_barlow_paper() -> Recipe:
    """BYOL-A 2's constants with Barlow Twins' loss."""
    return byol_a_paper().replace(
        name="audio-barlow",
        notes=NOTES.with_deviations(
            "projector of three layers 2048 wide with BatchNorm; released code: one hidden layer of 8192, 256 out",
            "batch 256; released code: 128",
        ),
        objective=_objective(2048),
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
        objective=_objective(512),
    )
