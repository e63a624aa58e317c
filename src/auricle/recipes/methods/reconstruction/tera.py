"""TERA: reconstruction from alterations along time, channel and magnitude (arXiv 2007.06028, TASLP 2021)."""

from __future__ import annotations

from auricle.objectives.masks.corruption import (
    ChannelBandConfig,
    CorruptionChainConfig,
    DiceSpansConfig,
    MagnitudeNoiseConfig,
)
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.mockingjay import mockingjay
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("tera", sizes=("tiny", "paper"), paradigm="reconstruction")
def tera(size: str = "tiny") -> Recipe:
    """TERA: frames, a band of channels, and magnitudes are altered; a BERT-like encoder reconstructs what they were.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper, base = size == "paper", mockingjay(size)
    corruption = CorruptionChainConfig(
        (
            DiceSpansConfig(share=0.15, span=7, zero=0.8, swap=0.1),
            ChannelBandConfig(widest=0.2),
            MagnitudeNoiseConfig(probability=0.15, std=0.2),
        )
    )
    return base.replace(
        name="tera",
        reference=Reference(
            title="TERA: Self-Supervised Learning of Transformer Encoder Representation for Speech",
            authors="Andy T. Liu, Shang-Wen Li, Hung-yi Lee",
            arxiv="2007.06028",
            section="3 (alterations), 4.1, and numbers of s3prl's code",
        ),
        deviations=(
            "one dice for noise a clip; s3prl's code throws one for the batch",
            "no level of -25 dB: each utterance's own mean and variance make all gains alike",
            *(
                ("utterances are cut at 29.9 s",)
                if paper
                else (
                    "encoder of width 192 on 2.56 s; published: width 768 on whole utterances",
                    "batch 32 for 1500 steps at 5e-4; published: a million steps at 2e-4",
                    *small_scale.DEVIATIONS,
                )
            ),
        ),
        kept=(
            "time: 15 % of the frames in spans of 7 (80 % zeroed, 10 % replaced, 10 % kept)",
            "channel: a band of up to a fifth of the bins is zeroed for the whole clip; magnitude: with probability "
            "0.15 noise N(0, 0.2) on all values",
            "absolute error on the union of what was altered, element by element; Mockingjay's encoder and head",
        ),
        unknown=(
            "dropout: 0.1 (its configurations have 0.1 and 0.3); steps: a million, the longer of two (chosen)",
            *base.unknown,
        ),
        objective=base.objective.replace(corruption=corruption),
        cost="as Mockingjay: all frames in every layer, few layers",
        choose="Mockingjay's uses, and where who speaks matters as well as what is said: missing bands teach it",
    )
