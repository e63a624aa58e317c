"""SSAMBA: SSAST's objective on a bidirectional state space encoder (arXiv 2405.11831, SLT 2024)."""

from __future__ import annotations

from auricle.encoders.state_space import BidirectionalStateSpaceConfig
from auricle.objectives.masks.blocks import ClusterMask
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.reconstruction.ssast import (
    ALIKE,
    ONE_MASK,
    SQUARES,
    patch_terms,
    ssast_paper,
    ssast_tiny,
)
from auricle.recipes.notes import PADDED, searched

SSAMBA = Method(
    name="ssamba",
    paradigm="reconstruction",
    summary="SSAMBA: joint discriminative and generative patch terms on selective state spaces in both directions.",
    learns="tests/learning/test_learn_ssamba.py",
)
NOTES = Notes(
    method="ssamba",
    reference=Reference(
        title="SSAMBA: Self-Supervised Audio Representation Learning with Mamba State Space Model",
        authors="Siavash Shams, Sukru Samet Dindar, Xilin Jiang, Nima Mesgarani",
        arxiv="2405.11831",
        section="3, 4.1, and numbers of the released code",
    ),
    faithful=(
        "blocks that scan from both ends, in pairs of which the second reads the reversed sequence",
        "300 of 512 patches masked in squares (the released script's; 250 and 400 are published, too); both of SSAST's "
        "terms, weights 1 and 10",
        "patches are read band after band; the last norm is applied twice (paper)",
        "batch 64, learning rate 1e-4, betas of 0.95 and 0.999, decoupled weight decay of 5e-8 (paper)",
    ),
    deviations=(
        SQUARES,
        "a constant learning rate; released code: halved when validation stands still",
    ),
    not_specified=searched(
        "paper, released scripts",
        "the ten epochs are counted as 2.28 million clips of AudioSet and LibriSpeech together (chosen)",
    ),
    cost="linear in the number of patches; on a CPU the recurrence is slow: several times a transformer's step",
    when_to_use="long recordings, where the square of attention is too expensive; SSAST is quicker on short ones",
)


_MASK = ClusterMask(ratio=300 / 512, wrap=True)


@SSAMBA.size("paper")
def ssamba_paper() -> Recipe:
    """24 blocks of width 768 on 10.24 s, 356,000 steps."""
    base = ssast_paper()
    return base.replace(
        name="ssamba",
        notes=NOTES.with_deviations(
            "the same stochastic depth in every block; released code: rising from block to block", PADDED
        ),
        encoder=BidirectionalStateSpaceConfig.size("base"),
        objective=base.objective.replace(mask=_MASK),
        loader=base.loader.replace(batch=64),
        train=base.train.replace(steps=356_000, weight_decay=5e-8),
    )


@SSAMBA.size("tiny")
def ssamba_tiny() -> Recipe:
    """Small scale: 8 blocks of width 128 on 2.56 s, 600 steps."""
    base = ssast_tiny()
    return base.replace(
        name="ssamba",
        notes=NOTES.with_deviations(
            ONE_MASK,
            ALIKE,
            "8 blocks of width 128 on 2.56 s, batch 16, 600 steps at 1e-3; published: 24 of up to 768 on 10.24 s, "
            "batch 64, ten epochs at 1e-4",
            "patches are read time step after time step, the last norm is applied once (encoder.order, "
            "encoder.norm_twice), weight decay of 5e-7; released code: band after band, twice, 5e-8",
            *small_scale.DEVIATIONS,
        ),
        encoder=BidirectionalStateSpaceConfig.size("micro", frames=256, drop_path=0.0),
        objective=base.objective.replace(mask=_MASK, terms=patch_terms(128, "ignored")),
        loader=small_scale.loader(16),
        train=small_scale.train(600, 1e-3, weight_decay=5e-7),
    )
