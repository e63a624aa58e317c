"""Predictions after each budget of labels.

Letters in shapes: n test clips, K budgets, S draws, R weightings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from auricle.errors import CorpusError
from auricle.metrics.weights import Floats
from auricle.tasks.clips.answers import ClipPredictions


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
