"""DP-MAE: two halves of a clip's patches reconstruct each other, regularised by a slow teacher (machine sounds)."""

from __future__ import annotations

from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import HalvesMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.objectives.targets.teachers import TeacherTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.teacher_student.a_jepa import a_jepa_paper, a_jepa_tiny
from auricle.recipes.notes import PADDED, searched

DP_MAE = Method(
    name="dp-mae",
    paradigm="reconstruction",
    summary="DP-MAE: each random half of the patches reconstructs the other and predicts a slow teacher's output.",
)
NOTES = Notes(
    method="dp-mae",
    reference=Reference(
        title="DP-MAE: A Dual-Path Masked Autoencoder Based Self-Supervised Learning Method for Anomalous Sound "
        "Detection",
        authors="Zhuo-Li Liu, Yan Song, Xiao-Min Zeng, Li-Rong Dai, Ian McLoughlin",
        section="the abstract (ICASSP 2024) and summaries; neither code nor settings are public",
    ),
    faithful=(
        "the patches are split into two random halves, each of which predicts the other",
        "squared error on standardised patches, plus a regulariser of self-distillation",
    ),
    deviations=("no classifier of machines: that is fine-tuning",),
    not_specified=searched(
        "abstract, summaries; neither code nor settings are public",
        "the regulariser: 2 - 2 cos to a slow teacher's output on the masked half, weight 0.1",
        "encoder: a ViT-B without class token; decoder: Audio-MAE's width 512, 8 layers; decay, optimiser, batch: "
        "those of A-JEPA's recipe",
    ),
    cost="a step encodes both halves of each clip, and the whole clip once without gradient",
    when_to_use="sounds of machines that hardly change: every patch is predicted once a step",
)


def _objective(decoder: TransformerDecoderConfig, decay: float) -> MaskedPredictionConfig:
    latent = TeacherTargetConfig(layers=-1, per_layer="layer")
    return MaskedPredictionConfig(
        mask=HalvesMask(),
        hide="drop",
        clones=2,
        decoder=decoder,
        teacher=TeacherConfig(decay, 1.0),
        terms=(
            RegressionConfig(PatchTargetConfig(norm="patch"), name="patch"),
            RegressionConfig(latent, measure="cosine", weight=0.1, name="distil"),
        ),
    )


@DP_MAE.size("paper")
def dp_mae_paper() -> Recipe:
    """The sizes of a ViT-B, since none are published."""
    return a_jepa_paper().replace(
        name="dp-mae",
        notes=NOTES.with_deviations(PADDED),
        objective=_objective(TransformerDecoderConfig(512, 8, 16), decay=0.996),
    )


@DP_MAE.size("tiny")
def dp_mae_tiny() -> Recipe:
    """Small scale: 6 layers of width 192, 750 steps."""
    base = a_jepa_tiny()
    return base.replace(
        name="dp-mae",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            "encoder of 6 layers and width 192 on 2.56 s, decoder of 2 layers and width 128; ViT-B is meant",
        ),
        encoder=layout("audio_mae", "tiny", depth=6, frames=256, cls=False),
        objective=_objective(TransformerDecoderConfig(128, 2, 4), decay=0.99),
        train=base.train.replace(steps=750),
    )
