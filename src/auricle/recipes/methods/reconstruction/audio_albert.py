"""Audio ALBERT: Mockingjay with one block for all layers (arXiv 2005.08575, SLT 2021)."""

from __future__ import annotations

from auricle.recipes import Method, Notes, Recipe, Reference
from auricle.recipes.methods.reconstruction.mockingjay import (
    NOT_SPECIFIED,
    TINY,
    TRAINING,
    mockingjay_paper,
    mockingjay_tiny,
)

AUDIO_ALBERT = Method(
    name="audio-albert",
    paradigm="reconstruction",
    summary="Audio ALBERT: Mockingjay whose layers all have the same weights.",
)
NOTES = Notes(
    method="audio-albert",
    reference=Reference(
        title="Audio ALBERT: A Lite BERT for Self-supervised Learning of Audio Representation",
        authors="Po-Han Chi, Pei-Hung Chung, Tsung-Han Wu, Chun-Cheng Hsieh, Yen-Hao Chen, Shang-Wen Li, Hung-yi Lee",
        arxiv="2005.08575",
        section="3, and numbers of s3prl's code",
    ),
    faithful=(
        "one transformer block serves all three layers (6 and 12 are published, too)",
        "Mockingjay's task: 15 % of the frames in spans of 7, zeroed, replaced or kept by one dice per clip; absolute "
        "error on the chosen frames",
        TRAINING,
    ),
    deviations=("input and target are 80 log-mel bins, as in s3prl",),
    not_specified=NOT_SPECIFIED,
    cost="as many operations as Mockingjay, a third of its layers' weights and of their optimiser state",
    when_to_use="in place of Mockingjay where memory for weights is scarce",
)


@AUDIO_ALBERT.size("paper")
def audio_albert_paper() -> Recipe:
    """Mockingjay's constants with shared layers."""
    base = mockingjay_paper()
    return base.replace(
        name="audio-albert",
        notes=NOTES,
        encoder=base.encoder.replace(shared_layers=True),
    )


@AUDIO_ALBERT.size("tiny")
def audio_albert_tiny() -> Recipe:
    """Small scale: Mockingjay's tiny size with shared layers."""
    base = mockingjay_tiny()
    return base.replace(
        name="audio-albert",
        notes=NOTES.with_deviations(*TINY),
        encoder=base.encoder.replace(shared_layers=True),
    )
