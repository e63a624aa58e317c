"""Metrics and intervals."""

from __future__ import annotations

from auricle.metrics.classification import (
    accuracy,
    area_under_roc,
    average_precision,
    balanced_accuracy,
    confusion_matrix,
    macro_auc,
    macro_f1,
    mean_average_precision,
    per_class_scores,
)
from auricle.metrics.intervals import (
    Difference,
    Interval,
    bootstrap_weights,
    paired_difference,
    percentile_interval,
    t_interval,
)
from auricle.metrics.knn import knn_accuracy, knn_scores

__all__ = [
    "Difference",
    "Interval",
    "accuracy",
    "area_under_roc",
    "average_precision",
    "balanced_accuracy",
    "bootstrap_weights",
    "confusion_matrix",
    "knn_accuracy",
    "knn_scores",
    "macro_auc",
    "macro_f1",
    "mean_average_precision",
    "paired_difference",
    "per_class_scores",
    "percentile_interval",
    "t_interval",
]
