from __future__ import annotations

import math
import subprocess
import sys

import pytest

from auricle.errors import ConfigError
from auricle.metrics.catalogue import METRICS, metric_info

# What the evaluation promises.
PROMISED = [
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "mAP",
    "macro_auc",
    "auc",
    "pauc",
    "d_prime",
    "eer",
    "min_dcf",
    "segment_f1",
    "segment_error_rate",
    "event_f1",
    "event_f1_offset",
    "psds1",
    "psds2",
    "wer",
    "cer",
    "abx_error",
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
    "mrr",
    "ndcg",
    "map_retrieval",
    "ari",
    "nmi",
    "r2",
    "pearson",
    "spearman",
    "mae",
    "rmse",
    "pitch_accuracy",
    "chroma_accuracy",
]

ERRORS = {name for name in METRICS if "error" in name} | {"eer", "min_dcf", "wer", "cer", "per"}
ERRORS |= {"mae", "rmse", "mae_semitones", "mae_db"}


def test_what_was_promised_is_known() -> None:
    assert set(PROMISED) <= METRICS.keys()


def test_entries_are_sound() -> None:
    titles = [info.title for info in METRICS.values()]
    assert len(set(titles)) == len(titles)
    for name, info in METRICS.items():
        assert info.name == name
        assert info.low < info.high
        assert (info.better == "lower") == (name in ERRORS), name
        if info.unit == "%":
            assert info.low == 0
            assert info.factor == 100
        else:
            assert info.factor == 1


def test_values_stay_in_range() -> None:
    assert metric_info("accuracy").clip(1.02) == 1.0
    assert metric_info("accuracy").clip(-0.1) == 0.0
    assert metric_info("r2").clip(-7.0) == -7.0
    assert metric_info("wer").clip(1.4) == 1.4
    assert math.isnan(metric_info("wer").clip(math.nan))


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        metric_info("acuracy")


def test_metrics_import_without_the_extras() -> None:
    """Those who probe clips need no sed_eval, jiwer ...: nothing imports them before they are used."""
    program = (
        "import importlib, pkgutil, sys, auricle.metrics; "
        "home = auricle.metrics.__path__; "
        "[importlib.import_module(m.name) for m in pkgutil.iter_modules(home, 'auricle.metrics.')]; "
        "print([m for m in ('sed_eval', 'sed_scores_eval', 'dcase_util', 'jiwer', 'mir_eval', 'torchmetrics') "
        "if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_catalogue_and_records_need_no_scientific_library() -> None:
    """Listing tasks and results is quick: neither torch nor scikit-learn is imported for it."""
    program = (
        "import sys, auricle.metrics.catalogue, auricle.results.record; "
        "print([m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
