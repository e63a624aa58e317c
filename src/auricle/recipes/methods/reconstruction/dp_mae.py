"""DP-MAE: two halves of a clip's patches reconstruct each other, with a slow teacher beside (machine sounds)."""

from __future__ import annotations

from auricle.objectives.masks.samplers import HalvesMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.objectives.targets.teachers import TeacherTargetConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.audio_mae import PADDED
from auricle.recipes.methods.teacher_student.a_jepa import a_jepa
from auricle.recipes.methods.teacher_student.eat import PLACES
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("dp-mae", sizes=("tiny", "paper"), paradigm="reconstruction")
def dp_mae(size: str = "tiny") -> Recipe:
    """DP-MAE: each random half of the patches reconstructs the other, and what a slow teacher makes of it.

    Args:
        size: `paper` has the sizes of a ViT-B, since none are published; `tiny` is for two cores.
    """
    base, paper = a_jepa(size), size == "paper"
    return base.replace(
        name="dp-mae",
        reference=Reference(
            title="DP-MAE (machine sounds, DCASE 2022 task 2)",
            authors="not known here",
            section="as summarised by others: neither its code nor its settings are public",
        ),
        kept=(
            "the patches are split into two random halves, each of which predicts the other",
            "squared error on standardised patches, plus a regulariser of self-distillation",
        ),
        deviations=("no classifier of machines: that is fine-tuning", PADDED)
        if paper
        else (
            "no classifier of machines: that is fine-tuning",
            *small_scale.DEVIATIONS,
            "encoder of 6 layers and width 192 on 2.56 s, decoder of 2 layers and width 128; ViT-B is meant",
            PLACES,
        ),
        unknown=(
            "the regulariser: 2 - 2 cos to a slow teacher's output on the hidden half, weight 0.1",
            "encoder: a ViT-B without class token; decoder: Audio-MAE's width 512, 8 layers; decay, optimiser, batch: "
            "those of A-JEPA's recipe",
        ),
        cost="a step encodes both halves of each clip, and the whole of it once without gradient",
        choose="sounds of machines that hardly change: every patch is predicted once a step",
        objective=MaskedPredictionConfig(
            mask=HalvesMask(),
            hide="drop",
            clones=2,
            decoder=TransformerDecoderConfig(512, 8, 16) if paper else TransformerDecoderConfig(128, 2, 4),
            teacher=TeacherConfig(0.996 if paper else 0.99, 1.0),
            terms=(
                RegressionConfig(PatchTargetConfig(norm="patch"), name="patch"),
                RegressionConfig(
                    TeacherTargetConfig(layers=-1, per_layer="layer"), measure="cosine", weight=0.1, name="distil"
                ),
            ),
        ),
        train=base.train if paper else base.train.replace(steps=750),
    )
