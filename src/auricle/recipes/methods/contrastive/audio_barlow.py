"""Audio Barlow Twins: BYOL-A's views, and a cross-correlation that becomes the identity (arXiv 2209.14345)."""

from __future__ import annotations

from auricle.objectives.contrastive.pair_losses import BarlowConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes.methods.teacher_student.byol_a import byol_a
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("audio-barlow", sizes=("tiny", "paper"), paradigm="contrastive")
def audio_barlow(size: str = "tiny") -> Recipe:
    """Audio Barlow Twins: dimensions agree across two views of a clip, and don't repeat each other.

    Args:
        size: `paper` has BYOL-A's constants and Barlow Twins' loss; `tiny` is for hours of audio and two cores.
    """
    base = byol_a(size)
    paper = size == "paper"
    width = 2048 if paper else 512
    return base.replace(
        name="audio-barlow",
        reference=Reference(
            title="Audio Barlow Twins: Self-Supervised Audio Representation Learning",
            authors="Anton et al.",
            arxiv="2209.14345",
            section="the idea; the loss is equation 1 of Barlow Twins, arXiv 2103.03230",
        ),
        kept=(
            "BYOL-A's front end, crops and views, normalised together",
            "the loss: squared distance of the views' cross-correlation from the identity; neither teacher, predictor "
            "nor negatives",
        ),
        unknown=(
            "encoder: BYOL-A 2's; batch, learning rate and length of training: BYOL-A 2's",
            f"projector: three layers {width} wide with BatchNorm; weight of what lies off the diagonal: 0.005, as "
            "Barlow Twins has it",
        ),
        cost="two passes of the encoder a step, no teacher: about half of BYOL-A; the loss grows with the square of "
        "the projector's width",
        choose="instead of BYOL-A, when collapse is a worry: dimensions that repeat each other cost by themselves",
        objective=ContrastiveConfig(
            loss=BarlowConfig(off_diagonal=0.005),
            projector=ProjectorConfig(
                hidden=(width, width), out=width, norm="batch", end="none", bias=False, draw="uniform"
            ),
            mask=MaskConfig(mode="none"),
        ),
    )
