"""Predictions of text tasks: the class of each clip, and the ranking of each query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.retrieval.answers import RetrievalPredictions

MEASURES = ("map_retrieval", "recall_at_1", "recall_at_5", "recall_at_10", "mrr")


@dataclass(frozen=True)
class ZeroShotPredictions(ClipPredictions):
    """Cosine of each clip and each class; see `ClipPredictions`."""

    type_name: ClassVar[str] = "zero_shot"
    scores: NDArray[Any]  # float64: rounded ones would have ties


@dataclass(frozen=True)
class TextRetrievalPredictions(RetrievalPredictions):
    """Rankings of captions for clips, or of clips for captions; see `RetrievalPredictions`."""

    type_name: ClassVar[str] = "text_retrieval"
    measured: ClassVar[tuple[str, ...]] = MEASURES
