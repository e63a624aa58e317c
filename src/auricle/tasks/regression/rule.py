"""Regression: settings of the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from auricle.errors import ConfigError
from auricle.tasks.rule import TaskRule


@dataclass(frozen=True)
class RegressionRule(TaskRule):
    """A number to predict: the card's label column, or a quantity measured from the waveform.

    Attributes:
        measured: `level`: root-mean-square level in dB re full scale, measured from each clip; "": the label column.
        unit: `semitones` (MIDI note numbers; adds pitch accuracy within a quarter tone), `dB`, or "".
    """

    type_name: ClassVar[str] = "regression"
    measured: Literal["", "level"] = ""
    unit: Literal["", "semitones", "dB"] = ""

    def __post_init__(self) -> None:
        if self.measured == "level" and self.unit != "dB":
            raise ConfigError(f"measured is 'level', and unit is {self.unit!r}; a level is in dB: set unit to dB")
