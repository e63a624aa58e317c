"""How recordings become samples: which channel, at which speed, and what the encoder's rate leaves of their band."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from functools import lru_cache

import numpy as np

from auricle.audio.decode import parse_channel
from auricle.corpus.columns import READ_CHANNEL, READ_EXPANSION
from auricle.corpus.stores import Place
from auricle.corpus.table import Corpus
from auricle.errors import AudioError, ConfigError
from auricle.words import counted

# Headers that are read to learn the rates of a corpus that was not scanned.
_LOOKED_AT = 200
# Native rates this many times above or below the encoder's are said.
_FAR = 2.0
_MOST_EXPANSION = 1000.0
_SLOWER = "played {} times slower (--time-expansion); times are the recordings' own"
# From this rate on recordings are made for ultrasound.
_ULTRASONIC = 96001
# One recording should not fill more of an epoch.
_LARGE_SHARE = 0.2


def read_as(corpus: Corpus, channel: str | int | None = None, time_expansion: float | None = None) -> Corpus:
    """Return a corpus whose recordings are read from one channel, or slowed down.

    Args:
        corpus: the clips. Their `start` and `seconds`, and all results, stay in the recordings' own time.
        channel: `mix` (the mean of all), `loudest` (the one with most power) or a number from 0; None: as it is.
        time_expansion: how many times slower the recordings are played to the encoder: with 10, ultrasound of 40 kHz
            arrives at 4 kHz, and a second lasts ten; None: as it is.

    Raises:
        ConfigError: a setting is out of range, or the corpus has strong labels and its time is expanded.

    Examples:
        >>> corpus = Corpus.from_columns({"file": ["bat.wav"], "seconds": [1.0]}, root="bats")
        >>> read_as(corpus, "0").column("read_channel")
        ['0']
    """
    check_reading(channel, time_expansion)
    before = read_notes(corpus)
    if channel is not None:
        chosen = parse_channel(channel)
        corpus = _with_choice(corpus, READ_CHANNEL, None if chosen == "mix" else str(chosen))
    if time_expansion is not None:
        if time_expansion != 1 and corpus.event_table is not None:
            raise ConfigError(
                f"corpus {corpus.name} has strong labels, whose times would no longer fit an expanded time; "
                "expected clips with labels: leave --time-expansion out"
            )
        corpus = _with_choice(corpus, READ_EXPANSION, None if time_expansion == 1 else float(time_expansion))
    return replace(corpus, notes=(*(n for n in corpus.notes if n not in before), *read_notes(corpus)))


def check_reading(channel: str | int | None, time_expansion: float | None) -> None:
    """Refuse what `read_as` refuses of any corpus.

    Raises:
        ConfigError: a setting is out of range.

    Examples:
        >>> check_reading("loudest", 10.0)
    """
    if channel is not None:
        parse_channel(channel)
    if time_expansion is not None and not 1 <= time_expansion <= _MOST_EXPANSION:
        raise ConfigError(f"time expansion is {time_expansion:g}; expected 1 (none) to {_MOST_EXPANSION:g}")


def read_notes(corpus: Corpus) -> tuple[str, ...]:
    """Return how the clips are read, where that is not the usual way.

    Examples:
        >>> corpus = Corpus.from_columns({"file": ["bat.wav"], "seconds": [1.0]}, root="bats")
        >>> read_notes(read_as(corpus, "0"))
        ('read from channel 0 (--channel)',)
    """
    found = []
    for name, text in ((READ_CHANNEL, "read from channel {} (--channel)"), (READ_EXPANSION, _SLOWER)):
        values = sorted({v for v in corpus.column(name) if v is not None}) if name in corpus.columns else []
        found += [text.format(f"{value:g}" if isinstance(value, float) else value) for value in values]
    return tuple(found)


def _with_choice(corpus: Corpus, name: str, value: str | float | None) -> Corpus:
    if value is not None:
        return corpus.with_column(name, [value] * len(corpus))
    # A table that a scan wrote with another choice.
    return replace(corpus, table=corpus.table.select([c for c in corpus.table.column_names if c != name]))


def expansions(corpus: Corpus) -> np.ndarray:
    """Return the time expansion of each clip, `(N,)`; 1: none."""
    if READ_EXPANSION not in corpus.columns:
        return np.ones(len(corpus))
    return np.array([value or 1.0 for value in corpus.column(READ_EXPANSION)], dtype=np.float64)


def band_notes(corpus: Corpus, rate: int) -> tuple[str, ...]:
    """Return what an encoder of `rate` Hz misses of the band of a corpus, or finds empty; nothing if they fit.

    Rates come from a scan's table, or else from the headers of at most 200 recordings, which the notes then say.

    Examples:
        >>> corpus = Corpus.from_columns({"file": ["bat.wav"], "seconds": [1.0], "scan_rate": [384000]}, root="bats")
        >>> print(band_notes(corpus, 16000)[0].partition(":")[0])
        1 of 1 recording has more than twice the encoder's rate (16,000 Hz), up to 384,000 Hz
    """
    rates, total = _rates(corpus)
    high, low = [r for r in rates if r > _FAR * rate], [r for r in rates if r * _FAR <= rate]
    notes = []
    for some, kind in ((high, "more than twice"), (low, "at most half")):
        if not some:
            continue
        sampled = f" looked at ({total:,} in all; `auricle corpus scan` looks at each)" if len(rates) < total else ""
        found = (
            f"{len(some)} of {counted(len(rates), 'recording')}{sampled} {'has' if len(some) == 1 else 'have'} {kind} "
            f"the encoder's rate ({rate:,} Hz), "
        )
        if some is high:
            factor = math.ceil(max(high) / rate)
            way = f"; --time-expansion {factor} brings it into the encoder's band" if max(high) >= _ULTRASONIC else ""
            notes.append(f"{found}up to {max(high):,.0f} Hz: what lies above {rate / 2000:g} kHz is lost{way}")
        else:
            way = f"above {min(low) / 2000:g} kHz the encoder finds nothing in them"
            notes.append(f"{found}down to {min(low):,.0f} Hz: {way}")
    return tuple(notes)


@lru_cache(maxsize=8)
def _rates(corpus: Corpus) -> tuple[list[float], int]:
    """Return the rates of (some) recordings, as they are played to an encoder, and how many recordings have one."""
    factors = expansions(corpus)
    _, firsts = np.unique(np.asarray(corpus.table.column("file")), return_index=True)
    if "scan_rate" in corpus.columns:
        known = corpus.column("scan_rate")
        rates = [known[row] / factors[row] for row in firsts.tolist() if known[row]]
        return rates, len(rates)
    found: list[float] = []
    spread = np.linspace(0, len(firsts) - 1, min(len(firsts), _LOOKED_AT)).astype(int)
    for index in firsts[spread].tolist():
        row = corpus.table.slice(index, 1).to_pylist()[0]
        try:
            info = corpus.stores[row["_store"]].probe(Place(row["_key"], row["_offset"], row["_size"]))
        except AudioError:
            continue
        found.append(info.rate / factors[index])
    # A recording that can't be read has no rate; only those that were not tried are still to be looked at.
    return found, len(firsts) if len(spread) < len(firsts) else len(found)


def share_notes(corpus: Corpus, seconds: np.ndarray | None = None) -> tuple[str, ...]:
    """Return a warning if one recording fills a large share of what an epoch draws.

    Args:
        corpus: the clips.
        seconds: `(N,)` their lengths, if they are drawn by duration; None: each is drawn once.

    Examples:
        >>> columns = {"file": ["day.wav", *"abcdefgh"], "seconds": [86400.0] + [1.0] * 8}
        >>> corpus = Corpus.from_columns(columns, root="x")
        >>> share_notes(corpus), len(share_notes(corpus, np.array(columns["seconds"])))
        ((), 1)
    """
    weight: dict[str, float] = defaultdict(float)
    for file, value in zip(corpus.column("file"), np.ones(len(corpus)) if seconds is None else seconds, strict=True):
        weight[file] += float(value)
    total = sum(weight.values())
    if not total:
        return ()
    file = max(weight, key=lambda name: weight[name])
    share, fair = weight[file] / total, 1 / len(weight)
    if share <= max(_LARGE_SHARE, 3 * fair):
        return ()
    return (
        f"{file!r} is {share:.0%} of an epoch (more than {_LARGE_SHARE:.0%}, and three times its part of {len(weight)} "
        "recordings): the encoder would mostly learn that one; check its length, or set loader.sampling to clip",
    )
