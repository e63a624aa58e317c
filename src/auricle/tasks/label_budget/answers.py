"""How a score grows with labels: 1, 2, 5, 10 ... labelled clips of each class, drawn repeatedly.

Within a draw the budgets are nested: the clips of a smaller one are part of the larger one. Draws are made once, so
that every encoder and reader learns from the same clips.

Letters in shapes: n test clips, K budgets, S draws, R weightings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.metrics.classification import Floats
from auricle.results.predictions import TaskPredictions
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
class BudgetAnswers(TaskPredictions):
    """What was said of the test clips after each budget; the draws stand where other tasks have seeds.

    A metric is the mean over budgets: the area under the curve whose budgets stand at equal distances.

    Attributes:
        budgets: K numbers of labelled clips a class.
        curve: K predictions of the same clips, one slice of scores a draw.
    """

    type_name: ClassVar[str] = "label_budget"
    budgets: tuple[int, ...]
    curve: tuple[ClipPredictions, ...]

    def __post_init__(self) -> None:
        """Check that every budget speaks of the same clips.

        Raises:
            CorpusError: it does not, or there is no budget.
        """
        first = self.curve[0] if self.curve else None
        if first is None or len(self.curve) != len(self.budgets):
            raise CorpusError(f"{len(self.curve)} predictions for {len(self.budgets)} budgets; expected one each")
        for one in self.curve[1:]:
            if not np.array_equal(one.clips, first.clips) or one.seeds != first.seeds or not one.same_truth(first):
                raise CorpusError("the predictions of different budgets differ in clips, truth or draws")

    @property
    def seeds(self) -> tuple[int, ...]:  # type: ignore[override]
        """Numbers of the draws."""
        return self.curve[0].seeds

    @property
    def units(self) -> NDArray[np.str_]:
        """`(n,)` names of the clips."""
        return self.curve[0].units

    @property
    def groups(self) -> NDArray[np.str_]:
        """`(n,)` sources of the clips."""
        return self.curve[0].groups

    @property
    def folds(self) -> NDArray[np.int64]:
        """`(n,)` folds of the clips."""
        return self.curve[0].folds

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of this kind of labels."""
        return self.curve[0].metrics

    @property
    def title(self) -> str:
        """What the units are."""
        return f"{self.curve[0].title} after {', '.join(map(str, self.budgets))} labels a class"

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        """Return `(S, R)`: the mean over budgets of the metric."""
        mean: Floats = np.mean([one.measure(metric, weights) for one in self.curve], axis=0)
        return mean

    def reorder(self, units: NDArray[np.str_]) -> Self:
        """Return the same clips in the order of these names.

        Raises:
            CorpusError: the names are not the same set of clips.
        """
        return type(self)(self.budgets, tuple(one.reorder(units) for one in self.curve))

    def same_truth(self, other: TaskPredictions) -> bool:
        """Return whether budgets, classes and labels are the same."""
        return (
            isinstance(other, BudgetAnswers)
            and self.budgets == other.budgets
            and self.curve[0].same_truth(other.curve[0])
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all there is as arrays; what all budgets share is held once."""
        scores = np.stack([one.scores for one in self.curve])
        return {**self.curve[0].arrays(), "scores": scores, "budgets": np.array(self.budgets, dtype=np.int64)}

    @classmethod
    def from_arrays(cls, held: dict[str, np.ndarray]) -> Self:
        """Rebuild from `arrays`' data."""
        curve = tuple(ClipPredictions.from_arrays({**held, "scores": scores}) for scores in held["scores"])
        return cls(tuple(held["budgets"].tolist()), curve)

    def detail(self) -> dict[str, Any]:
        """Return kind and classes, and the numbers of each class after the largest budget."""
        return self.curve[-1].detail()
