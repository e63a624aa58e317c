"""Where settings hold the encoder of an earlier stage."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from auricle.config import Config
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig


def stages_in(value: Any) -> list[PreviousEncoderConfig]:
    """Return the earlier encoders that settings hold."""
    if isinstance(value, PreviousEncoderConfig):
        return [value]
    if isinstance(value, tuple):
        return [found for part in value for found in stages_in(part)]
    if isinstance(value, Config):
        return [found for f in fields(value) for found in stages_in(getattr(value, f.name))]
    return []


def with_stages(value: Any, found: PreviousEncoderConfig) -> Any:
    """Return settings in which every earlier encoder is this one."""
    if isinstance(value, PreviousEncoderConfig):
        return found
    if isinstance(value, tuple):
        return tuple(with_stages(part, found) for part in value)
    if isinstance(value, Config):
        changed = {f.name: with_stages(getattr(value, f.name), found) for f in fields(value)}
        return value.replace(**{k: v for k, v in changed.items() if v is not getattr(value, k)})
    return value
