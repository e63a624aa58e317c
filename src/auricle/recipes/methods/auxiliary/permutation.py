"""Permutation: put the shuffled parts of a clip back in order, by differentiable ranking (arXiv 2103.09879)."""

from __future__ import annotations

from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.slices import SliceViewsConfig
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.objectives.workers.permutation import PermutationConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched

PERMUTATION = Method(
    name="permutation",
    paradigm="auxiliary",
    summary="Permutation: score each part of a shuffled clip so that the ranks of the scores are the true order.",
    learns="tests/learning/test_learn_permutation.py",
)
NOTES = Notes(
    method="permutation",
    reference=Reference(
        title="Self-Supervised Learning of Audio Representations from Permutations with Differentiable Ranking",
        authors="Andrew N Carr, Quentin Berthet, Mathieu Blondel, Olivier Teboul, Neil Zeghidour",
        arxiv="2103.09879",
        section="2 (method), 3 (the three cuts)",
    ),
    faithful=(
        "a permutation drawn from all, not from a fixed set",
        "one small convolutional net on each part by itself, all vectors side by side to a score for each part",
        "a differentiable distance of ranks; perturbed optimisers with the Fenchel-Young loss (size paper), the "
        "projection on the permutahedron by objective.loss soft_rank",
        "a strip is cut off at every border, so that continuity does not reveal the order",
    ),
    deviations=("AdamW, and the schedule of this library's other recipes of the family",),
    not_specified=searched(
        "paper; its code is not public",
        "front end, widths, optimiser, length of training: chosen as for the other methods of this family",
        "standard deviation of the noise and number of draws: 1 and 8 (chosen)",
        "width of the strip at the borders: 3 frames, in a grid 1 frame and 1 band (chosen)",
        "the grid: 3 x 3 (chosen)",
    ),
    cost="one pass of a very small net over the clip; the sorting adds nothing noticeable",
    when_to_use="very small encoders, and sounds whose course in time (or timbre) identifies them; a scalar task like "
    "this one does not fill a large encoder. Watch Spearman's correlation, not the loss",
)


@PERMUTATION.size("paper")
def permutation_paper() -> Recipe:
    """A grid of time and frequency, the best of the published cuts."""
    return Recipe(
        name="permutation",
        size="paper",
        notes=NOTES,
        frontend=LogMelConfig(),
        augment=SliceViewsConfig(count=9, rows=3, axis="grid", order="shuffle", trim=1),
        # 64 bands in 3 columns of 21, of which one is trimmed on either side.
        encoder=SliceCNNConfig.size("base", mels=19),
        objective=PermutationConfig(slices=9),
        window=small_scale.window(10.0),
        loader=small_scale.loader(128),
        train=small_scale.train(20_000, 1e-3, save_every=1000),
    )


@PERMUTATION.size("tiny")
def permutation_tiny() -> Recipe:
    """Small scale: 5 parts of time, so that any encoder can read them."""
    return Recipe(
        name="permutation",
        size="tiny",
        notes=NOTES.with_deviations(
            "5 parts of time of 2.56 s, ranked by the likelihood of the true order (Plackett-Luce), which learns in "
            "fewer steps than noise does; published: perturbed ranks, and a grid as the best cut",
            *small_scale.DEVIATIONS,
        ),
        frontend=LogMelConfig(),
        augment=SliceViewsConfig(count=5, order="shuffle", trim=3),
        encoder=SliceCNNConfig.size("base"),
        objective=PermutationConfig(slices=5, loss="plackett_luce"),
        window=small_scale.window(2.56),
        loader=small_scale.loader(64),
        train=small_scale.train(2000, 1e-3),
    )
