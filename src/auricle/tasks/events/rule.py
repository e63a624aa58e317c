"""What a task of sound events asks: which kind of sounds, how fine, and what validation clips may choose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from auricle.config import Config, nearest
from auricle.errors import ConfigError
from auricle.metrics.psds import PSDS1, PSDS2, PsdsConfig

# Metrics from counts: what is counted, and which number of `EventCounts` it is.
COUNTED: dict[str, tuple[str, str]] = {
    "segment_f1": ("segments", "f1"),
    "segment_f1_macro": ("segments", "macro_f1"),
    "segment_error_rate": ("segments", "error_rate"),
    "event_f1": ("onsets", "f1"),
    "event_f1_macro": ("onsets", "macro_f1"),
    "event_error_rate": ("onsets", "error_rate"),
    "event_f1_offset": ("offsets", "f1"),
    "event_f1_offset_macro": ("offsets", "macro_f1"),
}
# Metrics over all thresholds.
CURVES: dict[str, PsdsConfig] = {"psds1": PSDS1, "psds2": PSDS2}
_ONSETS = tuple(name for name, (count, _) in COUNTED.items() if count == "onsets")
_SEGMENTS = tuple(name for name, (count, _) in COUNTED.items() if count == "segments")


@dataclass(frozen=True)
class EventsRule(Config):
    """Sound events: corpora with strong labels (onset, offset and class of each event).

    Attributes:
        sounds: `lasting`: events have onset and offset; `onsets`: only the onset means anything (drums), events of a
            class may overlap, and frames are read as peaks.
        frame: seconds of a frame of scores, at most: columns of coarser encoders are split. 0: the encoder's column.
        resolution: seconds of a segment.
        collar: seconds that an onset may be off (an offset: or a fifth of the event's length, if that is more).
        thresholds: chosen for each `class`, or `global`ly.
        smooth: lengths of the median filter to choose from, in seconds (lasting sounds).
        shortest: shortest events to choose from, or least time between two onsets of a class, in seconds.
        least: classes with fewer events than this in the whole corpus take no part.
        psds: judge by PSDS too (lasting sounds); answers then keep all frame scores.
    """

    sounds: Literal["lasting", "onsets"] = "lasting"
    frame: float = 0.0
    resolution: float = 1.0
    collar: float = 0.2
    thresholds: Literal["class", "global"] = "class"
    smooth: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    shortest: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    least: int = 1
    psds: bool = True

    def __post_init__(self) -> None:
        """Check words and ranges.

        Raises:
            ConfigError: a word is unknown, a length is negative, or there is nothing to choose from.
        """
        for name, value, known in (
            ("sounds", self.sounds, ("lasting", "onsets")),
            ("thresholds", self.thresholds, ("class", "global")),
        ):
            if value not in known:
                raise ConfigError(f"{name} of sound events is {value!r}{nearest(value, known)}")
        lengths = (self.frame, *self.smooth, *self.shortest)
        if not (self.smooth and self.shortest) or min(lengths) < 0 or not all(map(math.isfinite, lengths)):
            raise ConfigError(f"lengths of sound events are {lengths}; expected at least one each, and none below zero")
        if not (self.resolution > 0 and self.collar > 0 and self.least >= 0):
            raise ConfigError(
                f"resolution {self.resolution}, collar {self.collar}, least {self.least}; expected positive numbers"
            )

    def metrics(self) -> tuple[str, ...]:
        """Return the metrics that make sense for these sounds; the first is the headline."""
        if self.sounds == "onsets":
            return (*_ONSETS, *_SEGMENTS)
        return (*COUNTED, *(CURVES if self.psds else ()))
