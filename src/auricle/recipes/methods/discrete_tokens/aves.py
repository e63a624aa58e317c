"""AVES: HuBERT on animal sounds (arXiv 2210.14493)."""

from __future__ import annotations

from auricle.recipes import Method, Notes, Recipe, Reference
from auricle.recipes.methods.discrete_tokens.hubert import (
    BATCHES,
    DEVIATIONS,
    FAITHFUL,
    TINY,
    hubert_paper,
    hubert_tiny,
)
from auricle.recipes.notes import searched

AVES = Method(
    name="aves",
    paradigm="discrete tokens",
    summary="AVES: HuBERT, both iterations, on recordings of animals.",
)
NOTES = Notes(
    method="aves",
    reference=Reference(
        title="AVES: Animal Vocalization Encoder based on Self-Supervision",
        authors="Hagiwara",
        arxiv="2210.14493",
        section="the method, and the description of the released models",
    ),
    faithful=(
        "HuBERT's base model and both of its iterations, on audio at 16 kHz",
        *FAITHFUL,
    ),
    deviations=(
        "the corpus is yours, and the recipe selects no animals from it; published: the animal sounds of FSD50K, "
        "AudioSet and VGGSound (153 hours, 360 with other sounds of nature, 5054 of all kinds)",
        *DEVIATIONS,
    ),
    not_specified=searched(
        "paper, description of the released models",
        BATCHES,
        "numbers of clusters, clustered layers, steps and batch: those of HuBERT's base model",
    ),
    cost="as HuBERT: a step encodes each clip once, in the second iteration the encoder of the first as well",
    when_to_use="For animal sounds below 8 kHz where labels are few; for bats and insects, raise the rates of the "
    "front end and of the encoder, or slow the recordings down.",
)


@AVES.size("paper")
def aves_paper() -> Recipe:
    """The constants of HuBERT's base model."""
    return hubert_paper().replace(name="aves", notes=NOTES)


@AVES.size("tiny")
def aves_tiny() -> Recipe:
    """Small scale: HuBERT's tiny size."""
    return hubert_tiny().replace(name="aves", notes=NOTES.with_deviations(*TINY))
