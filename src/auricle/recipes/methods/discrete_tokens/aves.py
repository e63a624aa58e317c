"""AVES: HuBERT on animal sounds (arXiv 2210.14493)."""

from __future__ import annotations

from auricle.recipes.methods.discrete_tokens.hubert import hubert
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("aves", sizes=("tiny", "paper"), paradigm="discrete tokens")
def aves(size: str = "tiny") -> Recipe:
    """AVES: HuBERT, both iterations, on recordings of animals.

    Args:
        size: `paper` has the constants of HuBERT's base model; `tiny` is for hours of audio and two cores.
    """
    base = hubert(size)
    return base.replace(
        name="aves",
        reference=Reference(
            title="AVES: Animal Vocalization Encoder based on Self-Supervision",
            authors="Hagiwara",
            arxiv="2210.14493",
            section="the method, and the description of the released models",
        ),
        deviations=(*base.deviations, "the corpus is yours; nothing in the recipe picks animals out of it"),
        kept=(
            *base.kept,
            "audio at 16 kHz; published: the animal sounds of FSD50K, AudioSet and VGGSound (153 hours, 360 with other "
            "sounds of nature, 5054 of all kinds)",
        ),
        unknown=(
            *base.unknown,
            "numbers of clusters, clustered layers, steps and batch: HuBERT's base model's",
        ),
        choose="For animal sounds below 8 kHz where labels are few; for bats and insects, raise the rates of the "
        "front end and of the encoder, or slow the recordings down.",
    )
