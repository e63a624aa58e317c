"""Permutation: put the shuffled parts of a clip back in order, by differentiable ranking (arXiv 2103.09879)."""

from __future__ import annotations

from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.slices import SliceViewsConfig
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.objectives.workers.permutation import PermutationConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe

REFERENCE = Reference(
    title="Self-Supervised Learning of Audio Representations from Permutations with Differentiable Ranking",
    authors="Andrew N Carr, Quentin Berthet, Mathieu Blondel, Olivier Teboul, Neil Zeghidour",
    arxiv="2103.09879",
    section="2 (method), 3 (the three cuts)",
)


@recipe("permutation", sizes=("tiny", "paper"), paradigm="auxiliary")
def permutation(size: str = "tiny") -> Recipe:
    """Permutation: each part of a shuffled clip gets a score, and the scores' ranks are to be the true places.

    Args:
        size: `paper` cuts a grid of time and frequency, the best of the published cuts; `tiny` cuts time only, so that
            any encoder can read the parts.
    """
    paper = size == "paper"
    tiles = SliceViewsConfig(count=9, rows=3, axis="grid", order="shuffle", trim=1)
    parts = SliceViewsConfig(count=5, order="shuffle", trim=3)
    # 64 bands in 3 columns of 21, of which one is trimmed on either side.
    encoder = SliceCNNConfig.size("base", mels=19) if paper else SliceCNNConfig.size("base")
    return Recipe(
        name="permutation",
        size=size,
        reference=REFERENCE,
        deviations=(
            "AdamW, and the schedule of the other recipes: the published ones are not known to us",
            *(
                ()
                if paper
                else (
                    "5 parts of time of 2.56 s, ranked by the likelihood of the true order (Plackett-Luce), which "
                    "learns in fewer steps than noise does; published: perturbed ranks, and a grid as the best cut",
                    *small_scale.DEVIATIONS,
                )
            ),
        ),
        kept=(
            "a permutation drawn from all, not from a fixed set",
            "one small convolutional net on each part by itself, all vectors side by side to a score for each part",
            "a differentiable distance of ranks; perturbed optimisers with the Fenchel-Young loss (size paper), the "
            "projection on the permutahedron by objective.loss soft_rank",
            "a strip is left out at every border, lest continuity tells the order",
        ),
        unknown=(
            "front end, widths, optimiser, length of training: chosen as for the other methods of this family",
            "standard deviation of the noise and number of draws: 1 and 8 (chosen)",
            "width of the strip at the borders: 3 frames, in a grid 1 frame and 1 band (chosen)",
            "the grid: 3 x 3 (chosen)",
        ),
        cost="one pass of a very small net over the clip; the sorting costs nothing beside it",
        choose="very small encoders, and sounds whose course in time (or timbre) tells what they are; a scalar task "
        "like this one does not fill a large encoder. Watch Spearman's correlation, not the loss",
        frontend=LogMelConfig(),
        augment=tiles if paper else parts,
        encoder=encoder,
        objective=PermutationConfig(slices=9) if paper else PermutationConfig(slices=5, loss="plackett_luce"),
        window=small_scale.window(10.0 if paper else 2.56),
        loader=small_scale.loader(128 if paper else 64),
        train=small_scale.train(20_000 if paper else 2000, 1e-3, save_every=1000 if paper else 100),
    )
