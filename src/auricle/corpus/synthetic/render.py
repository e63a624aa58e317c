"""Rendering one clip of the built-in corpus: a pure function of the settings and the clip's index.

Three kinds: `single` has one event per clip in a faint background (single-label classification), `scenes` has up to six
short events over a background of random colour (tagging, sound event detection), `calls` has calls of one class among
other sounds, for long recordings (detection). Every fold has its own voices
(instruments, talkers, engines), so that a probe is tested on unseen voices.

There are sixteen classes of sound sources, each with its own physics. In a class, a *voice* (one bell, one talker, one
engine) determines the timbre, an *event* one performance. Both are drawn from generators, so that folds can have
separate voices. Similar classes share their long-term spectrum on purpose (whistle and siren, clicks and footsteps,
vowel and babble, rain and wind) and differ in how the sound evolves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal, get_args

import numpy as np
from annotated_types import Ge, Le

from auricle.config import Config, Count, Natural
from auricle.corpus.synthetic import effects
from auricle.corpus.synthetic.sources_air import babble, birdsong, siren, vowel, whistle, wind
from auricle.corpus.synthetic.sources_machine import alarm, clicks, engine, insects
from auricle.corpus.synthetic.sources_struck import bell, drum, footsteps, plucked_string, rain, water_drops
from auricle.corpus.synthetic.voice import Note

Kind = Literal["scenes", "single", "calls"]
VERSION = 1
FOLDS = 5
VOICES = 12  # per class and fold: few enough to recur, too many to memorise
PEAK = 0.98
MOST_EVENTS = 6
CALLS = "birdsong"  # the class of `calls`
_APART = 4.0  # seconds from a call to the next, on average; no two calls overlap


@dataclass(frozen=True)
class Source:
    """One class of sounds.

    Attributes:
        name: the label.
        pitch: lowest and highest pitch in Hz, drawn log-uniformly; defined in the docstring of `render`.
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


@dataclass(frozen=True)
class ScenesConfig(Config):
    """Settings of a built-in corpus.

    Attributes:
        clips: number of clips.
        seconds: length of a clip.
        seed: of all random choices.
        content: `scenes` (several events a clip), `single` (one), or `calls`: birdsong every four seconds, among
            as many events of other classes.
        rate: sample rate in Hz.
        train_folds: number of folds whose clips train, from the first on. The next fold validates, the others test:
            with 1 there are few labels and many test clips.
    """

    clips: Count = 600
    seconds: Annotated[float, Ge(0.5), Le(3600)] = 5.0
    seed: Natural = 0
    content: Kind = "scenes"
    rate: Annotated[int, Ge(8000), Le(96000)] = 16000
    train_folds: Annotated[int, Ge(1), Le(FOLDS - 2)] = FOLDS - 2

    def split(self, fold: int) -> str:
        """Return the part of a fold (1 to 5): `train`, `valid` or `test`."""
        if fold <= self.train_folds:
            return "train"
        return "valid" if fold == self.train_folds + 1 else "test"


@dataclass(frozen=True)
class Event:
    """One sound in a clip; the columns of `events.csv` after `file`.

    Attributes:
        onset: start of audibility, seconds.
        offset: end of the direct sound (within 40 dB of its loudest 10 ms), seconds; echoes may continue.
        label: the class.
        voice: which instrument of that class, e.g. `bell-3-07`.
        pitch_hz: defined by the class's renderer.
        loudness_db: level of the event with its reverberation, between onset and offset, dB re full scale.
        snr_db: the same over the background's level in that span.
        duration: offset - onset.
    """

    onset: float
    offset: float
    label: str
    voice: str
    pitch_hz: float
    loudness_db: float
    snr_db: float
    duration: float


@dataclass(frozen=True)
class Scene:
    """A rendered clip with its factors.

    Attributes:
        wave: `(S,)` float32, within [-1, 1].
        background: `(S,)` float32.
        stems: each event's own wave with reverberation, `(S,)`; their sum with the background is `wave`.
        events: by onset, in the order of `stems`.
        fold: 1 to 5.
        factors: of the whole clip: colour (exponent of the background's 1/f slope), background_db, rt60 (seconds),
            wetness_db (energy of the tail over that of the direct sound), tilt_db (per octave, the microphone's).
    """

    wave: np.ndarray
    background: np.ndarray
    stems: tuple[np.ndarray, ...]
    events: tuple[Event, ...]
    fold: int
    factors: dict[str, float]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that occur, sorted."""
        return tuple(sorted({event.label for event in self.events}))


def class_names() -> tuple[str, ...]:
    """Return the sixteen classes, sorted."""
    return tuple(sorted(source.name for source in SOURCES))


def render_scene(config: ScenesConfig, index: int) -> Scene:
    """Synthesise one clip; the same config and index always give the same samples.

    Args:
        config: the corpus; `clips` is not used.
        index: of the clip, from 0.

    Returns:
        The clip with its stems, events and factors.
    """
    draw = np.random.default_rng([VERSION, get_args(Kind).index(config.content), config.seed, index])
    samples = round(config.seconds * config.rate)
    # 16 and 5 are coprime: any 80 clips in a row hold each class in each fold once.
    fold = index % FOLDS + 1
    if config.content == "single":
        sources = [SOURCES[index % len(SOURCES)]]
        colour, background_db = draw.uniform(-0.5, 2.2), draw.uniform(-70.0, -42.0)
        snr = (8.0, 36.0)
    elif config.content == "calls":
        count = max(1, round(config.seconds / _APART))
        others = [source for source in SOURCES if source.name != CALLS]
        calls = [source for source in SOURCES if source.name == CALLS] * count
        sources = [*calls, *(others[k] for k in draw.choice(len(others), count))]
        colour, background_db = draw.uniform(-0.5, 2.2), draw.uniform(-50.0, -32.0)
        snr = (0.0, 24.0)
    else:
        # The number of events grows with the clip's length, so that ten seconds are not emptier than five.
        most = min(MOST_EVENTS, max(2, round(config.seconds * 0.7)))
        count = int(draw.integers(1, most + 1))
        sources = [SOURCES[k] for k in draw.choice(len(SOURCES), count)]
        colour, background_db = draw.uniform(-0.5, 2.2), draw.uniform(-50.0, -32.0)
        snr = (0.0, 24.0)
    echoing = draw.random() < 0.7
    rt60 = float(np.exp(draw.uniform(np.log(0.1), np.log(1.2)))) if echoing else 0.0
    wetness_db = float(draw.uniform(-18.0, 3.0)) if echoing else -240.0
    slope = float(draw.uniform(-3.0, 2.0))
    response = effects.room_response(draw, rt60, 10 ** (wetness_db / 10) if echoing else 0.0, config.rate)
    gusts = 1 + draw.uniform(0.0, 0.5) * effects.slow_curve(draw, samples, config.rate, 0.7)
    noise = effects.tilt(effects.coloured_noise(draw, samples, colour) * gusts, slope, config.rate)
    background = noise * np.float32(10 ** (background_db / 20) / effects.root_mean_square(noise))
    spans = [(0, samples)] * len(sources)
    if config.content == "calls":
        bounds = np.linspace(0, samples, len(sources) // 2 + 1).astype(int).tolist()
        spans[: len(sources) // 2] = list(pairwise(bounds))
    seen = [
        _place(draw, source, fold, config, background, response, slope, snr, span)
        for source, span in zip(sources, spans, strict=True)
    ]
    seen.sort(key=lambda pair: pair[0].onset)
    wave = background + sum((stem for _, stem in seen), np.zeros(samples, np.float32))
    loudest = float(np.abs(wave).max())
    scale = min(1.0, PEAK / loudest)
    shift = effects.decibels(scale)
    events = tuple(replace(event, loudness_db=round(event.loudness_db + shift, 2)) for event, _ in seen)
    factors = {
        "colour": round(float(colour), 3),
        "background_db": round(float(background_db) + shift, 2),
        "rt60": round(rt60, 3),
        "wetness_db": round(wetness_db, 2),
        "tilt_db": round(slope, 2),
    }
    level = np.float32(scale)
    stems = tuple(stem * level for _, stem in seen)
    return Scene((wave * level).astype(np.float32), background * level, stems, events, fold, factors)


def _place(
    draw: np.random.Generator,
    source: Source,
    fold: int,
    config: ScenesConfig,
    background: np.ndarray,
    response: np.ndarray,
    slope: float,
    snr: tuple[float, float],
    inside: tuple[int, int],
) -> tuple[Event, np.ndarray]:
    """Render one event inside a range of samples, at a level drawn against the background beneath it."""
    rate, samples = config.rate, background.size
    which = int(draw.integers(VOICES))
    voice = np.random.default_rng([VERSION, config.seed, class_names().index(source.name), fold, which])
    low, high = source.pitch
    pitch = float(np.exp(draw.uniform(np.log(low), np.log(min(high, 0.4 * rate)))))
    shortest, longest = source.seconds
    length = float(np.exp(draw.uniform(np.log(shortest), np.log(longest))))
    length = min(int(length * rate), int(0.9 * (inside[1] - inside[0])))
    dry = source.render(Note(voice, draw, pitch, length, rate))
    first, last = effects.audible_span(dry, rate)
    dry = effects.tilt(effects.soften_edges(dry[first:last], rate), slope, rate)
    start = inside[0] + int(draw.integers(0, inside[1] - inside[0] - dry.size + 1))
    wet = effects.convolve(dry, response)[: samples - start]
    span = slice(start, start + dry.size)
    stem = np.zeros(samples, np.float32)
    stem[start : start + wet.size] = wet
    snr_db = float(draw.uniform(*snr))
    under = effects.root_mean_square(background[span])
    over = effects.root_mean_square(stem[span])
    gain = under * 10 ** (snr_db / 20) / over
    event = Event(
        onset=round(start / rate, 6),
        offset=round((start + dry.size) / rate, 6),
        label=source.name,
        voice=f"{source.name}-{fold}-{which:02d}",
        pitch_hz=round(pitch, 2),
        loudness_db=effects.decibels(over * gain),
        snr_db=round(snr_db, 2),
        duration=round(dry.size / rate, 6),
    )
    return event, stem * np.float32(gain)
