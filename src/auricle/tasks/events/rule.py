"""Sound event detection: settings of the task, and its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from auricle.config import Natural, NonNegative, Positive
from auricle.errors import ConfigError
from auricle.tasks.rule import TaskRule

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
# Metrics over all thresholds; `answers.py` has their settings.
CURVES = ("psds1", "psds2")
_ONSETS = tuple(name for name, (count, _) in COUNTED.items() if count == "onsets")
_SEGMENTS = tuple(name for name, (count, _) in COUNTED.items() if count == "segments")


@dataclass(frozen=True)
class EventsRule(TaskRule):
    """Sound events: corpora with strong labels (onset, offset and class of each event).

    Attributes:
        sounds: `lasting`: events have onset and offset; `onsets`: only the onset is defined (drums), events of a class
            may overlap, and predictions are peaks of the frame scores.
        frame: longest frame of scores in seconds: columns of coarser encoders are split. 0: the encoder's column.
        resolution: seconds of a segment.
        collar: tolerance of an onset in seconds (of an offset: or a fifth of the event's length, if that is more).
        thresholds: chosen for each `class`, or `global`ly.
        smooth: lengths of the median filter to choose from, in seconds (lasting sounds).
        shortest: shortest events to choose from, or least time between two onsets of a class, in seconds.
        least: classes with fewer events than this in the whole corpus take no part.
        complete_annotation: recordings without a row in the table of events have no events; False: nothing is known of
            them, and they take no part.
        psds: score by PSDS too (lasting sounds); predictions then keep all frame scores.
    """

    type_name: ClassVar[str] = "events"
    sounds: Literal["lasting", "onsets"] = "lasting"
    frame: NonNegative = 0.0
    resolution: Positive = 1.0
    collar: Positive = 0.2
    thresholds: Literal["class", "global"] = "class"
    smooth: tuple[NonNegative, ...] = (0.0, 0.25, 0.5, 1.0)
    shortest: tuple[NonNegative, ...] = (0.0, 0.1, 0.2, 0.4)
    least: Natural = 1
    complete_annotation: bool = False
    psds: bool = True

    def __post_init__(self) -> None:
        if not (self.smooth and self.shortest):
            raise ConfigError(
                f"smooth is {self.smooth}, shortest is {self.shortest}; expected at least one length each"
            )

    def metrics(self) -> tuple[str, ...]:
        """Return the metrics that these sounds have; the first is the headline."""
        if self.sounds == "onsets":
            return (*_ONSETS, *_SEGMENTS)
        return (*COUNTED, *(CURVES if self.psds else ()))
