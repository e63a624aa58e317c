"""Types of the ranges that augmentations draw from, and the check that each range is in order."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le

from auricle.config import Config, Share
from auricle.errors import ConfigError


def check_ranges(config: Config, *names: str) -> None:
    """Check that settings `(lowest, highest)` are in this order; None passes.

    Raises:
        ConfigError: a range is not in order.
    """
    for name in names:
        values = getattr(config, name)
        if values is not None and values[0] > values[1]:
            raise ConfigError(f"{config.prefix()}{name} is {values}; expected (lowest, highest) in this order")


_Decibel = Annotated[float, Ge(-200), Le(200)]
_Hertz = Annotated[float, Ge(1), Le(1e6)]
_Seconds = Annotated[float, Ge(0), Le(60)]
_Speed = Annotated[float, Ge(0.1), Le(10)]
_Semitone = Annotated[float, Ge(-24), Le(24)]
_Scale = Annotated[float, Ge(0.01), Le(10)]

Decibels = tuple[_Decibel, _Decibel]
Hertz = tuple[_Hertz, _Hertz]
Seconds = tuple[_Seconds, _Seconds]
Speeds = tuple[_Speed, _Speed]
Semitones = tuple[_Semitone, _Semitone]
Scales = tuple[_Scale, _Scale]
Shares = tuple[Share, Share]
