"""How a metric is written: in which unit, which way is better. Records say it of their headline; older ones mean %."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auricle.report.numbers import ABSENT, number, percent
from auricle.report.run_data import Record

# Metrics whose values are no shares: name -> unit. All others are stored as a share and shown in per cent.
UNITS = {
    "d_prime": "",
    "min_dcf": "",
    "segment_error_rate": "",
    "event_error_rate": "",
    "psds1": "",
    "psds2": "",
    "mcd": "dB",
    "si_sdr": "dB",
    "cider": "",
    "ari": "",
    "nmi": "",
    "r2": "",
    "pearson": "",
    "spearman": "",
    "concordance": "",
    "mae": "",
    "rmse": "",
    "mae_semitones": "semitones",
    "mae_db": "dB",
}
TITLES = {
    "macro_f1": "macro-F1",
    "mAP": "mean average precision",
    "cmAP": "class-mean average precision",
    "macro_auc": "macro AUC",
    "auc": "AUC",
    "pauc": "partial AUC",
    "d_prime": "d'",
    "eer": "equal error rate",
    "min_dcf": "minimum detection cost",
    "segment_f1": "segment F1",
    "event_f1": "event F1 (onset)",
    "event_f1_offset": "event F1 (onset and offset)",
    "psds1": "PSDS 1",
    "psds2": "PSDS 2",
    "wer": "word error rate",
    "cer": "character error rate",
    "per": "phone error rate",
    "mrr": "mean reciprocal rank",
    "ndcg": "nDCG",
    "map_retrieval": "mean average precision of retrieval",
    "ari": "adjusted Rand index",
    "nmi": "normalised mutual information",
    "r2": "R²",
    "mae": "mean absolute error",
    "mae_semitones": "mean absolute pitch error",
    "mae_db": "mean absolute level error",
}


@dataclass(frozen=True)
class Measure:
    """A metric as the page shows it.

    Attributes:
        name: in the records.
        unit: `%`: stored as a share, shown times 100.
        lower: True where lower values are better.
    """

    name: str
    unit: str = "%"
    lower: bool = False

    @classmethod
    def of(cls, record: Record) -> Measure:
        """The headline metric of a record."""
        name, unit = str(record.get("metric") or "value"), record.get("unit")
        return cls(name, str(unit) if isinstance(unit, str) else "%", record.get("better") == "lower")

    @property
    def title(self) -> str:
        """What it is called."""
        return TITLES.get(self.name, self.name.replace("_", " "))

    @property
    def about(self) -> str:
        """Title, unit, and which way is better if that is not the usual one."""
        return f"{self.title}{f', {self.unit}' if self.unit else ''}{', lower is better' if self.lower else ''}"

    @property
    def label(self) -> str:
        """Title of an axis."""
        return f"{self.title}{f', {self.unit}' if self.unit else ''}"

    @property
    def factor(self) -> float:
        """What a stored value is multiplied with to be shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def sign(self) -> float:
        """-1 where lower is better: values times it are better the higher."""
        return -1.0 if self.lower else 1.0

    @property
    def points(self) -> str:
        """What differences are counted in."""
        return "points" if self.unit == "%" else self.unit or "units of the metric"

    @property
    def pattern(self) -> str:
        """How plotly writes a shown value."""
        return ".1f" if self.unit == "%" else ".3g"

    def shown(self, value: Any) -> float | None:
        """A stored value as it is drawn; None for what is no number."""
        found = number(value)
        return None if found is None else self.factor * found

    def text(self, value: Any) -> str:
        """Write a value without its unit; a dash for what is no number."""
        found = self.shown(value)
        return ABSENT if found is None else format(found, self.pattern)

    def full(self, value: Any) -> str:
        """Write a value with its unit."""
        return f"{self.text(value)} {self.unit}".rstrip()

    def gain(self, value: float, rival: float) -> str:
        """Write how much better a value is than another one: positive is better, whichever way that is."""
        return format(self.factor * self.sign * (value - rival), "+.1f" if self.unit == "%" else "+.3g")


def by_name(name: str, value: Any) -> str:
    """Write a value of a metric of which only the name is known."""
    if name not in UNITS:
        return percent(value)
    measure = Measure(name, UNITS[name])
    return measure.full(value)
