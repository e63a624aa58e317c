"""What fitting a head needs to know, whatever the type of task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.answers.fitting.goals import Goal
from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.models.heads import Head
from auricle.probes import SearchConfig
from auricle.results.predictions import TaskPredictions
from auricle.results.scoring import score
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import Fold, readable_folds
from auricle.tasks.task_type import TaskPlan, TaskType
from auricle.tokens.cache import TokenCache
from auricle.tokens.token_set import TokenSet


@dataclass(frozen=True)
class Setup:
    """A task planned on its corpus, and how its head is fitted.

    Attributes:
        card: the task.
        corpus: its clips.
        kind: the type of the task.
        plan: which clips train, validate and test.
        encoder: whose tokens are read.
        open_cache: returns the tokens of the corpus: the output's, or (`True`) those of all blocks.
        probes: candidates by name; empty: the usual ones of the type.
        goal: of the thresholds.
        search: of the probes' settings.
        segment: length of the windows in seconds; None: whole clips.
        seed: of what is drawn.
        device: where heads are trained.
        confidence: coverage of intervals.
        progress: called with the share of the work that is done.
        options: what one type alone takes.
    """

    card: TaskCard
    corpus: Corpus
    kind: TaskType
    plan: TaskPlan
    encoder: FrozenEncoder
    open_cache: Callable[[bool], TokenCache]
    probes: dict[str, Config]
    goal: Goal
    search: SearchConfig
    segment: float | None
    seed: int
    device: str
    confidence: float
    progress: Callable[[float], None]
    options: dict[str, Any]

    @property
    def present(self) -> NDArray[np.bool_]:
        """`(n,)` over `plan.rows`: whether each clip could be read and encoded."""
        return np.asarray(np.isin(self.plan.rows, self.open_cache(False).present))

    @property
    def groups(self) -> NDArray[np.str_]:
        """Source of each clip that could be read."""
        return self.plan.groups[self.present]

    @property
    def folds(self) -> list[Fold]:
        """The divisions, as indices into the clips that could be read."""
        return readable_folds(self.plan.folds, self.present)

    def tokens(self, *, layers: bool = False) -> TokenSet:
        """Return the tokens of the clips that could be read."""
        rows = self.plan.rows[self.present]
        return self.open_cache(True).select(rows, layers="all") if layers else self.open_cache(False).select(rows)

    def final(self) -> NDArray[np.int64]:
        """Return the clips that the kept head is fitted to: all; test clips of the corpus's own split stay out."""
        if self.plan.protocol == "split":
            (fold,) = self.folds
            return np.concatenate([fold.train, fold.valid])
        return np.arange(int(self.present.sum()), dtype=np.int64)

    def used(self) -> str:
        """Return what was used for what, in a sentence."""
        if self.plan.protocol == "split":
            return (
                "settings, calibration and thresholds were chosen on the validation clips; the head was fitted to "
                "training and validation clips; the test clips measured the expected performance and nothing else"
            )
        return (
            f"{len(self.folds)} rounds: in each, heads were fitted to the training clips, the validation clips chose "
            "probe, setting, calibration and thresholds, and the test clips measured the expected performance and "
            "nothing else; the kept head has the usual choice of the rounds, calibration and thresholds of all "
            "validation scores, and was fitted to all clips"
        )


@dataclass(frozen=True)
class Fitted:
    """A fitted head, and what is known of it.

    Attributes:
        head: the head.
        facts: for the card of the model, JSON-ready.
        notes: caveats.
    """

    head: Head
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()


def measured(setup: Setup, predictions: TaskPredictions) -> dict[str, Any]:
    """Return the score of test predictions with its interval, JSON-ready."""
    metric = setup.kind.headline(setup.card, setup.plan, predictions)
    found = score(predictions, metric, confidence=setup.confidence)
    return {
        "metric": metric,
        "value": _number(found.value),
        "low": _number(found.interval.low),
        "high": _number(found.interval.high),
        "confidence": setup.confidence,
        "interval": found.interval.method,
        "metrics": {name: _number(value) for name, value in found.metrics.items()},
        "clips": len(predictions.names),
        "sources": len(np.unique(predictions.group)),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
