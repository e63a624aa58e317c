"""All known layouts by name."""

from __future__ import annotations

from auricle.corpus.published.layouts import (
    animals,
    captions,
    emotion,
    events,
    machines,
    music,
    music_tags,
    notes,
    scenes,
    sounds,
    speakers,
    speech,
    voices,
)
from auricle.corpus.published.layouts.contract import Layout

_FAMILIES = (
    animals,
    captions,
    emotion,
    events,
    machines,
    music,
    music_tags,
    notes,
    scenes,
    sounds,
    speakers,
    speech,
    voices,
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for family in _FAMILIES for layout in family.LAYOUTS}
