"""How a score grows with labels: 1, 2, 5, 10 ... labelled clips of each class, drawn repeatedly.

Within a draw the budgets are nested: the clips of a smaller one are part of the larger one. Draws are made once, so
that every encoder and reader learns from the same clips.

Letters in shapes: n test clips, K budgets, S draws, R weightings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.metrics.weights import Floats
from auricle.tasks.clips.answers import ClipPredictions

Rows = NDArray[np.int64]


def nested_draws(
    rows: Rows, truth: NDArray[np.bool_], budgets: Sequence[int], generator: np.random.Generator
) -> Iterator[Rows]:
    """Draw clips for each budget, the smaller ones part of the larger ones.

    For one label a clip each class gets exactly its budget (or all it has). With several labels, classes take turns in
    random order, and a clip counts for each of its classes: a class may get more than its budget, never less unless
    it has no more. Clips without a label are never drawn.

    Args:
        rows: `(m,)` places of the clips to draw from.
        truth: `(n, C)` labels of all clips.
        budgets: in ascending order.
        generator: of the draw.

    Yields:
        For each budget the places of its clips, in ascending order.
    """
    order = generator.permutation(rows)
    classes = generator.permutation(truth.shape[1])
    chosen = np.zeros(len(truth), dtype=bool)
    for budget in budgets:
        for c in classes.tolist():
            lacking = budget - int(truth[chosen, c].sum())
            if lacking > 0:
                chosen[[r for r in order[truth[order, c]].tolist() if not chosen[r]][:lacking]] = True
        yield np.flatnonzero(chosen)


def useful_budgets(budgets: Sequence[int], counts: Sequence[int]) -> tuple[tuple[int, ...], list[str]]:
    """Return the budgets that differ from each other, and notes on those left out or not met.

    Args:
        budgets: in ascending order.
        counts: training clips of each class, in the fold that has the fewest.

    Raises:
        CorpusError: not one budget is left, or a fold has no labelled training clip.
    """
    most, fewest = max(counts, default=0), min((c for c in counts if c), default=0)
    if most == 0:
        raise CorpusError("a fold has no labelled training clip; correct the columns split or fold")
    # The first budget that takes every clip says what all larger ones would.
    kept = [b for i, b in enumerate(budgets) if i == 0 or budgets[i - 1] < most]
    notes = []
    if len(kept) < len(budgets):
        left = ", ".join(str(b) for b in budgets[len(kept) :])
        notes.append(f"budgets {left} are left out: no class has more than {most} training clips in every fold")
    if any(b > fewest for b in kept):
        notes.append(f"a class with fewer training clips than the budget gives all it has (the fewest: {fewest})")
    return tuple(kept), notes


@dataclass(frozen=True)
class BudgetPredictions(ClipPredictions):
    """Predictions for the test clips after each budget; the draws stand where other tasks have seeds.

    A metric is the mean over budgets: the area under the curve whose budgets stand at equal distances.

    Attributes:
        budgets: K numbers of labelled clips a class.
        scores: `(K, S, n, C)` float32.
    """

    type_name: ClassVar[str] = "label_budget"
    unit_axes: ClassVar[dict[str, int]] = {"truth": 0, "scores": 2}
    truth_fields: ClassVar[tuple[str, ...]] = ("budgets", "classes", "truth")
    budgets: tuple[int, ...]

    @classmethod
    def join(cls, budgets: Sequence[int], curve: Sequence[ClipPredictions]) -> Self:
        """Join predictions for the same clips, one for each budget.

        Raises:
            CorpusError: there is no budget, or predictions differ in clips, truth or draws.
        """
        if not curve or len(curve) != len(budgets):
            raise CorpusError(f"{len(curve)} predictions for {len(budgets)} budgets; expected one each")
        first = curve[0]
        for one in curve[1:]:
            if not np.array_equal(one.names, first.names) or one.seeds != first.seeds or not one.same_truth(first):
                raise CorpusError("the predictions of different budgets differ in clips, truth or draws")
        return cls(**{**vars(first), "scores": np.stack([one.scores for one in curve]), "budgets": tuple(budgets)})

    @cached_property
    def curve(self) -> tuple[ClipPredictions, ...]:
        """Predictions after each budget."""
        shared = {field.name: getattr(self, field.name) for field in fields(ClipPredictions)}
        return tuple(ClipPredictions(**{**shared, "scores": scores}) for scores in self.scores)

    @property
    def title(self) -> str:
        return f"{super().title} after {', '.join(map(str, self.budgets))} labels a class"

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        mean: Floats = np.mean([one.measure(metric, weights) for one in self.curve], axis=0)
        return mean

    def detail(self) -> dict[str, Any]:
        # The numbers of each class are those after the largest budget.
        return self.curve[-1].detail()
