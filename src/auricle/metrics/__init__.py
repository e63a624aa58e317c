"""Metrics and intervals."""

from __future__ import annotations

from auricle.metrics.abx import Abx, abx_error
from auricle.metrics.answers import (
    answer_accuracy,
    answer_hits,
    normalise_answer,
)
from auricle.metrics.catalogue import (
    METRICS,
    MetricInfo,
    metric_info,
)
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
from auricle.metrics.clustering import (
    adjusted_rand_index,
    adjusted_rand_index_resampled,
    cluster_purity,
    cluster_purity_resampled,
    normalised_mutual_information,
    normalised_mutual_information_resampled,
)
from auricle.metrics.event_sweep import quick_event_counts, quick_segment_counts
from auricle.metrics.events import (
    Event,
    EventCounts,
    Events,
    event_counts,
    event_f1,
    join_overlapping,
    segment_counts,
    segment_error_rate,
    segment_f1,
)
from auricle.metrics.intervals import (
    Difference,
    Interval,
    bootstrap_weights,
    paired_difference,
    percentile_interval,
    sign_flip_p,
    t_interval,
)
from auricle.metrics.knn import knn_accuracy, knn_scores
from auricle.metrics.psds import (
    PSDS1,
    PSDS2,
    Psds,
    PsdsConfig,
)
from auricle.metrics.ranking import (
    auc,
    class_mean_average_precision,
    d_prime,
    label_weighted_ranking_precision,
    partial_auc,
)
from auricle.metrics.regression import (
    chroma_accuracy,
    concordance,
    mean_error,
    pearson,
    pitch_accuracy,
    pitch_hits,
    r2,
    root_mean_square_error,
    spearman,
)
from auricle.metrics.resampled_ranking import (
    weighted_auc,
    weighted_d_prime,
    weighted_equal_error_rate,
    weighted_min_detection_cost,
    weighted_partial_auc,
)
from auricle.metrics.resampled_regression import (
    weighted_concordance,
    weighted_mean_error,
    weighted_pearson,
    weighted_r2,
    weighted_root_mean_square_error,
    weighted_spearman,
)
from auricle.metrics.resampled_units import weighted_mean
from auricle.metrics.retrieval import retrieval_of_queries, retrieval_scores
from auricle.metrics.segmentation import intersection_over_union, mean_intersection_over_union
from auricle.metrics.signal import mel_cepstral_distortion, si_sdr
from auricle.metrics.text import (
    bleu,
    cider,
    cider_of_clips,
    spice,
    spice_of_clips,
)
from auricle.metrics.transcription import (
    ErrorCounts,
    character_error_rate,
    character_errors,
    word_error_rate,
    word_errors,
)
from auricle.metrics.verification import (
    DetectionCost,
    equal_error_rate,
    min_detection_cost,
)
from auricle.metrics.warping import warping_cost, warping_path

__all__ = [
    "METRICS",
    "PSDS1",
    "PSDS2",
    "Abx",
    "DetectionCost",
    "Difference",
    "ErrorCounts",
    "Event",
    "EventCounts",
    "Events",
    "Interval",
    "MetricInfo",
    "Psds",
    "PsdsConfig",
    "abx_error",
    "accuracy",
    "adjusted_rand_index",
    "adjusted_rand_index_resampled",
    "answer_accuracy",
    "answer_hits",
    "area_under_roc",
    "auc",
    "average_precision",
    "balanced_accuracy",
    "bleu",
    "bootstrap_weights",
    "character_error_rate",
    "character_errors",
    "chroma_accuracy",
    "cider",
    "cider_of_clips",
    "class_mean_average_precision",
    "cluster_purity",
    "cluster_purity_resampled",
    "concordance",
    "confusion_matrix",
    "d_prime",
    "equal_error_rate",
    "event_counts",
    "event_f1",
    "intersection_over_union",
    "join_overlapping",
    "knn_accuracy",
    "knn_scores",
    "label_weighted_ranking_precision",
    "macro_auc",
    "macro_f1",
    "mean_average_precision",
    "mean_error",
    "mean_intersection_over_union",
    "mel_cepstral_distortion",
    "metric_info",
    "min_detection_cost",
    "normalise_answer",
    "normalised_mutual_information",
    "normalised_mutual_information_resampled",
    "paired_difference",
    "partial_auc",
    "pearson",
    "per_class_scores",
    "percentile_interval",
    "pitch_accuracy",
    "pitch_hits",
    "quick_event_counts",
    "quick_segment_counts",
    "r2",
    "retrieval_of_queries",
    "retrieval_scores",
    "root_mean_square_error",
    "segment_counts",
    "segment_error_rate",
    "segment_f1",
    "si_sdr",
    "sign_flip_p",
    "spearman",
    "spice",
    "spice_of_clips",
    "t_interval",
    "warping_cost",
    "warping_path",
    "weighted_auc",
    "weighted_concordance",
    "weighted_d_prime",
    "weighted_equal_error_rate",
    "weighted_mean",
    "weighted_mean_error",
    "weighted_min_detection_cost",
    "weighted_partial_auc",
    "weighted_pearson",
    "weighted_r2",
    "weighted_root_mean_square_error",
    "weighted_spearman",
    "word_error_rate",
    "word_errors",
]
