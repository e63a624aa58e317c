"""Opening a model, whatever holds it: a run, a checkpoint, a fine-tuned folder, the Hub, a published file, a module."""

from __future__ import annotations

from auricle.models.folder import load_head
from auricle.models.opening import Model, load

__all__ = ["Model", "load", "load_head"]
