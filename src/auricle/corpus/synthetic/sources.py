"""The sound sources of the built-in corpus: sixteen classes, each with its own physics.

In a class, a *voice* (one bell, one talker, one engine) determines the timbre, an *event* one performance. Both are
drawn from generators, so that folds can have separate voices. Similar classes share their long-term spectrum on purpose
(whistle and siren, clicks and footsteps, vowel and babble, rain and wind) and differ in how the sound evolves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from auricle.corpus.synthetic.sources_air import babble, birdsong, siren, vowel, whistle, wind
from auricle.corpus.synthetic.sources_machine import alarm, clicks, engine, insects
from auricle.corpus.synthetic.sources_struck import bell, drum, footsteps, plucked_string, rain, water_drops
from auricle.corpus.synthetic.voice import Note


@dataclass(frozen=True)
class Source:
    """One class of sounds.

    Attributes:
        name: the label.
        pitch: lowest and highest pitch in Hz, drawn log-uniformly; defined in the renderer's docstring.
        seconds: shortest and longest event, drawn log-uniformly.
        render: makes `(S,)` float32 of any level from a `Note`.
    """

    name: str
    pitch: tuple[float, float]
    seconds: tuple[float, float]
    render: Callable[[Note], np.ndarray]


SOURCES: tuple[Source, ...] = (
    Source("alarm", (500.0, 3200.0), (0.5, 2.5), alarm),
    Source("babble", (80.0, 280.0), (0.8, 3.0), babble),
    Source("bell", (180.0, 1800.0), (0.6, 3.0), bell),
    Source("birdsong", (1500.0, 5500.0), (0.4, 2.5), birdsong),
    Source("clicks", (400.0, 4500.0), (0.3, 2.0), clicks),
    Source("drum", (55.0, 320.0), (0.3, 2.0), drum),
    Source("engine", (18.0, 130.0), (0.8, 3.0), engine),
    Source("footsteps", (60.0, 400.0), (0.8, 3.0), footsteps),
    Source("insects", (2200.0, 6500.0), (0.5, 3.0), insects),
    Source("plucked_string", (80.0, 900.0), (0.4, 2.0), plucked_string),
    Source("rain", (800.0, 5500.0), (0.8, 3.0), rain),
    Source("siren", (450.0, 1800.0), (0.8, 3.0), siren),
    Source("vowel", (85.0, 500.0), (0.3, 1.8), vowel),
    Source("water_drops", (400.0, 3200.0), (0.4, 2.5), water_drops),
    Source("whistle", (600.0, 3000.0), (0.4, 2.0), whistle),
    Source("wind", (120.0, 1200.0), (0.8, 3.0), wind),
)
