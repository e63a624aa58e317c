"""TERA: reconstruction from alterations along time, channel and magnitude (arXiv 2007.06028, TASLP 2021)."""

from __future__ import annotations

from auricle.objectives.masks.corruption import (
    ChannelBandConfig,
    CorruptionChainConfig,
    DiceSpansConfig,
    MagnitudeNoiseConfig,
)
from auricle.recipes import Method, Notes, Recipe, Reference
from auricle.recipes.methods.reconstruction.mockingjay import (
    NOT_SPECIFIED,
    TINY,
    TRAINING,
    mockingjay_paper,
    mockingjay_tiny,
)
from auricle.recipes.notes import searched

TERA = Method(
    name="tera",
    paradigm="reconstruction",
    summary="TERA: alter frames, a band of channels and magnitudes; a BERT-like encoder reconstructs the originals.",
    learns="tests/learning/test_learn_tera.py",
)
NOTES = Notes(
    method="tera",
    reference=Reference(
        title="TERA: Self-Supervised Learning of Transformer Encoder Representation for Speech",
        authors="Andy T. Liu, Shang-Wen Li, Hung-yi Lee",
        arxiv="2007.06028",
        section="3 (alterations), 4.1, and numbers of s3prl's code",
    ),
    faithful=(
        "time: 15 % of the frames in spans of 7 (80 % zeroed, 10 % replaced, 10 % kept)",
        "channel: a band of up to a fifth of the bins is zeroed for the whole clip; magnitude: with probability 0.15 "
        "noise N(0, 0.2) on all values",
        "absolute error on the union of the altered values, element by element; Mockingjay's encoder and head",
        TRAINING,
    ),
    deviations=(
        "one dice for noise per clip; s3prl's code throws one for the batch",
        "no level of -25 dB: each utterance's own mean and variance make all gains alike",
    ),
    not_specified=(
        *searched(
            "paper, s3prl's configurations",
            "dropout: 0.1 (the configurations have 0.1 and 0.3); steps: a million, the longer of two (chosen)",
        ),
        *NOT_SPECIFIED,
    ),
    cost="as Mockingjay: all frames in every layer, few layers",
    when_to_use="as Mockingjay, and where the identity of the speaker matters as well as the words: missing bands "
    "teach it",
)
_ALTERATIONS = CorruptionChainConfig(
    (
        DiceSpansConfig(share=0.15, span=7, zero=0.8, swap=0.1),
        ChannelBandConfig(widest=0.2),
        MagnitudeNoiseConfig(probability=0.15, std=0.2),
    )
)


@TERA.size("paper")
def tera_paper() -> Recipe:
    """Mockingjay's constants with three alterations."""
    base = mockingjay_paper()
    return base.replace(
        name="tera",
        notes=NOTES,
        objective=base.objective.replace(corruption=_ALTERATIONS),
    )


@TERA.size("tiny")
def tera_tiny() -> Recipe:
    """Small scale: Mockingjay's tiny size with three alterations."""
    base = mockingjay_tiny()
    return base.replace(
        name="tera",
        notes=NOTES.with_deviations(*TINY),
        objective=base.objective.replace(corruption=_ALTERATIONS),
    )
