"""Labelled clips: the task whose units are clips with one label each, or any number."""

from __future__ import annotations

from dataclasses import dataclass

from auricle.config import Config


@dataclass(frozen=True)
class ClipsRule(Config):
    """Clips with one label or any number of them; card and corpus say all that there is to say."""
