"""Metrics and intervals. Names are imported when they are first used: the catalogue needs no scientific library."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "abx": "Abx abx_error",
    "answers": "answer_accuracy answer_hits normalise_answer",
    "catalogue": "METRICS MetricInfo metric_info",
    "classification": "accuracy area_under_roc average_precision balanced_accuracy confusion_matrix macro_auc macro_f1 "
    "mean_average_precision per_class_scores",
    "clustering": "adjusted_rand_index cluster_purity normalised_mutual_information",
    "event_sweep": "quick_event_counts quick_segment_counts",
    "events": "Event EventCounts Events event_counts event_f1 join_overlapping segment_counts segment_error_rate "
    "segment_f1",
    "intervals": "Difference Interval bootstrap_weights paired_difference percentile_interval sign_flip_p t_interval",
    "knn": "knn_accuracy knn_scores",
    "psds": "PSDS1 PSDS2 Psds PsdsConfig",
    "ranking": "auc class_mean_average_precision d_prime label_weighted_ranking_precision partial_auc",
    "regression": "chroma_accuracy concordance mean_error pearson pitch_accuracy pitch_hits r2 root_mean_square_error "
    "spearman",
    "retrieval": "retrieval_of_queries retrieval_scores",
    "segmentation": "intersection_over_union mean_intersection_over_union",
    "signal": "mel_cepstral_distortion si_sdr",
    "text": "bleu cider cider_of_clips spice spice_of_clips",
    "transcription": "ErrorCounts character_error_rate character_errors word_error_rate word_errors",
    "verification": "DetectionCost equal_error_rate min_detection_cost",
    "warping": "warping_cost warping_path",
    "weights": "Metric unit_mean weighable",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'auricle.metrics' has no attribute {name!r}")
    return getattr(import_module(f"auricle.metrics.{_HOMES[name]}"), name)
