"""Name, unit, range and direction of each metric: the same in results, tables and the report.

A metric whose unit is `%` is stored as a share (0.87) and shown times 100 (87.0 %).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from auricle.config import nearest
from auricle.errors import ConfigError

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class MetricInfo:
    """One metric.

    Attributes:
        name: its key in records and on the command line.
        title: its name in tables and axes.
        better: whether higher or lower values are better.
        unit: `%` (stored as a share), a unit such as `dB`, or empty.
        low: the smallest value it can take, `-inf` where there is none.
        high: the largest, `inf` where there is none.
        pooled: whether units that two systems predicted can be scored together: no unit is ranked or clustered with
            others.
        extreme: whether it rests on the few highest or lowest scores, so that it varies little with a single unit.
    """

    name: str
    title: str
    better: Better = "higher"
    unit: str = "%"
    low: float = 0.0
    high: float = 1.0
    pooled: bool = False
    extreme: bool = False

    @property
    def factor(self) -> float:
        """Factor from a stored value to one in `unit`."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def sign(self) -> float:
        """-1 where lower values are better: values times it are better the higher."""
        return -1.0 if self.better == "lower" else 1.0

    @property
    def pattern(self) -> str:
        """Format of a shown value."""
        return ".1f" if self.unit == "%" else ".3g"

    @property
    def label(self) -> str:
        """Title and unit, as for an axis."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def about(self) -> str:
        """Title, unit, and which way is better where that is not the usual one."""
        return self.label + (", lower is better" if self.better == "lower" else "")

    def text(self, value: float, *, plus: bool = False) -> str:
        """Write a stored value without its unit; `-` for what is not finite.

        Examples:
            >>> metric_info("accuracy").text(0.8734), metric_info("mae").text(-0.25, plus=True)
            ('87.3', '-0.25')
        """
        return format(self.factor * value, "+" * plus + self.pattern) if math.isfinite(value) else "-"

    def clip(self, value: float) -> float:
        """Return a value (the end of an interval) moved into the metric's range; NaN stays NaN."""
        return value if math.isnan(value) else min(max(value, self.low), self.high)


_INF = math.inf

_ALL = (
    # Clips: classification.py, ranking.py
    MetricInfo("accuracy", "accuracy"),
    MetricInfo("balanced_accuracy", "balanced accuracy"),
    MetricInfo("macro_f1", "macro-F1"),
    MetricInfo("mAP", "mean average precision"),
    MetricInfo("macro_auc", "macro AUC"),
    MetricInfo("d_prime", "d'", unit="", low=-_INF, high=_INF),
    MetricInfo("lwlrap", "label-weighted label-ranking AP"),
    # Two kinds of clips or trials: ranking.py, verification.py
    MetricInfo("auc", "AUC"),
    MetricInfo("pauc", "partial AUC"),
    MetricInfo("eer", "equal error rate", better="lower"),
    MetricInfo("min_dcf", "minimum detection cost", better="lower", unit="", extreme=True),
    # Sound events: events.py, psds.py
    MetricInfo("segment_f1", "segment F1"),
    MetricInfo("segment_f1_macro", "segment F1, class mean"),
    MetricInfo("segment_error_rate", "segment error rate", better="lower", unit="", high=_INF),
    MetricInfo("event_f1", "event F1 (onset)"),
    MetricInfo("event_f1_macro", "event F1 (onset), class mean"),
    MetricInfo("event_error_rate", "event error rate (onset)", better="lower", unit="", high=_INF),
    MetricInfo("event_f1_offset", "event F1 (onset and offset)"),
    MetricInfo("event_f1_offset_macro", "event F1 (onset and offset), class mean"),
    MetricInfo("psds1", "PSDS 1", unit=""),
    MetricInfo("psds2", "PSDS 2", unit=""),
    # Sequences: transcription.py
    MetricInfo("wer", "word error rate", better="lower", high=_INF),
    MetricInfo("cer", "character error rate", better="lower", high=_INF),
    MetricInfo("per", "phone error rate", better="lower", high=_INF),
    # Discrimination of speech units: abx.py
    MetricInfo("abx_error", "ABX error", better="lower"),
    # Retrieval: retrieval.py
    MetricInfo("recall_at_1", "recall at 1"),
    MetricInfo("recall_at_5", "recall at 5"),
    MetricInfo("recall_at_10", "recall at 10"),
    MetricInfo("precision_at_1", "precision at 1"),
    MetricInfo("precision_at_5", "precision at 5"),
    MetricInfo("precision_at_10", "precision at 10"),
    MetricInfo("mrr", "mean reciprocal rank"),
    MetricInfo("ndcg", "nDCG"),
    MetricInfo("map_retrieval", "mean average precision of retrieval"),
    # Clusters: clustering.py
    MetricInfo("ari", "adjusted Rand index", unit="", low=-0.5),
    MetricInfo("nmi", "normalised mutual information", unit=""),
    MetricInfo("purity", "cluster purity"),
    # Numbers: regression.py
    MetricInfo("r2", "R²", unit="", low=-_INF),
    MetricInfo("pearson", "Pearson correlation", unit="", low=-1.0),
    MetricInfo("spearman", "rank correlation", unit="", low=-1.0),
    MetricInfo("concordance", "concordance correlation", unit="", low=-1.0),
    MetricInfo("mae", "mean absolute error", better="lower", unit="", high=_INF),
    MetricInfo("rmse", "root mean square error", better="lower", unit="", high=_INF),
    MetricInfo("mae_semitones", "mean absolute pitch error", better="lower", unit="semitones", high=_INF),
    MetricInfo("mae_db", "mean absolute level error", better="lower", unit="dB", high=_INF),
    MetricInfo("pitch_accuracy", "pitch accuracy"),
    MetricInfo("chroma_accuracy", "chroma accuracy"),
)

_RANKED = {
    *("mAP", "macro_auc", "d_prime", "auc", "pauc", "eer", "min_dcf", "psds1", "psds2", "abx_error"),
    *("ari", "nmi", "purity"),
    # Each system's own offset and scale: predictions of two in one correlation mean nothing.
    *("pearson", "spearman", "concordance"),
}

METRICS: dict[str, MetricInfo] = {info.name: replace(info, pooled=info.name not in _RANKED) for info in _ALL}


def described(name: str, unit: str | None = None, better: str | None = None) -> MetricInfo:
    """Return a metric as a record describes it; a name that the catalogue lacks is its own title, a share by default.

    Args:
        name: of the metric.
        unit: as recorded; None: that of the catalogue.
        better: `higher` or `lower` as recorded; None: that of the catalogue.
    """
    info = METRICS.get(name, MetricInfo(name, name.replace("_", " ")))
    direction: Better = "lower" if (better or info.better) == "lower" else "higher"
    return replace(info, unit=info.unit if unit is None else unit, better=direction)


def register_metric(info: MetricInfo) -> None:
    """Add a metric, for example from a plug-in; predictions that measure it may then name it.

    Raises:
        ConfigError: another metric has this name.
    """
    if METRICS.setdefault(info.name, info) != info:
        raise ConfigError(f"two metrics are named {info.name!r}; rename one")


def metric_info(name: str) -> MetricInfo:
    """Return a metric of the catalogue.

    Raises:
        ConfigError: there is no metric of this name; says the nearest one.
    """
    if name not in METRICS:
        raise ConfigError(f"unknown metric {name!r}{nearest(name, METRICS)}")
    return METRICS[name]
