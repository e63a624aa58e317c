"""Columns of times in tables: begins, ends and lengths, in seconds or milliseconds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from auricle.corpus.columns import listed
from auricle.errors import CorpusError

Unit = Literal["s", "ms"]
# Names of other tools; a unit may follow (`start_ms`, `Begin Time (s)`).
_STARTS = ("start", "start_time", "starttime", "begin", "begin_time", "tmin")
_ENDS = ("end", "end_time", "endtime", "stop", "stop_time", "finish", "tmax")
# Of events; in a table of clips an onset may be that of the sound within the clip, and an offset alone is a begin.
_ONSETS, _OFFSETS = ("onset", "onset_time"), ("offset", "offset_time")
_LENGTHS = ("seconds", "duration", "dur")
_UNIT = re.compile(r"[ _(]+(ms|msec|msecs|millis|milliseconds|s|sec|secs|seconds)\)?$")
# How other tools write that there is no number.
_NONE = ("", "na", "n/a", "none", "null")
# Tables round to milliseconds and codecs to frames: a range may end this many seconds after its recording.
END_TOLERANCE = 0.05
# A time this many times longer than the recording is of another unit.
_FAR = 20.0


@dataclass(frozen=True)
class Times:
    """Columns of times of a table.

    Attributes:
        names: role (`start`, `end`, `seconds`) -> column.
        unit: of all of them, as their names say it; None: the names don't say it.
    """

    names: Mapping[str, str]
    unit: Unit | None = None


def numbers(
    values: Sequence[Any], wanted: str, name: str, at: Callable[[int], str], comma: bool = False
) -> list[float | None]:
    """Return numbers; None where there is none (blank, NaN).

    Args:
        values: texts or numbers.
        wanted: what is expected, for messages: `seconds`, `a whole number` (`2.0` is one).
        name: of the column.
        at: names a row.
        comma: a comma is the decimal sign.

    Raises:
        CorpusError: a value is no number, is infinite, or not whole where it should be.
    """
    fast = _cast(values, wanted, comma)
    if fast is not None:
        return fast
    found: list[float | None] = []
    for row, value in enumerate(values):
        number: float | None = None
        try:
            if isinstance(value, str):
                text = value.strip()
                number = None if text.lower() in _NONE else float(text.replace(",", ".") if comma else text)
            elif value is not None:
                number = float(value)
            if number is not None and (math.isinf(number) or (wanted != "seconds" and number != int(number))):
                raise ValueError("not a finite number of this kind")
        except (TypeError, ValueError, OverflowError) as error:
            if number is not None and number != number:
                found.append(None)
                continue
            hint = ""
            if isinstance(value, str) and re.fullmatch(r"-?\d+,\d+", value.strip()):
                hint = "; a decimal comma is read only in tables with semicolons or tabs between values: write a point"
            raise CorpusError(f"{at(row)}: {name} is {value!r}; expected {wanted} or nothing{hint}") from error
        found.append(None if number is None or number != number else number)
    return found


def _cast(values: Sequence[Any], wanted: str, comma: bool) -> list[float | None] | None:
    """Return texts as numbers by Arrow; None: a value needs a closer look."""
    try:
        texts = pc.utf8_trim_whitespace(pa.array(values, type=pa.string()))
        lower = pc.utf8_lower(texts)
        texts = pc.if_else(pc.is_in(lower, value_set=pa.array([*_NONE, "nan"])), pa.scalar(None, pa.string()), texts)
        cast = pc.cast(pc.replace_substring(texts, ",", ".") if comma else texts, pa.float64())
    except (pa.ArrowException, TypeError):
        return None
    good = pc.is_finite(cast) if wanted == "seconds" else pc.and_(pc.is_finite(cast), pc.equal(pc.floor(cast), cast))
    return listed(cast) if pc.all(good).as_py() else None


def find_times(
    columns: Mapping[str, Sequence[Any]], at: Callable[[int], str], comma: bool = False
) -> tuple[dict[str, Sequence[Any]], Times, tuple[str, ...]]:
    """Find a table's begins, ends and lengths, and turn them into the columns `start` and `seconds`.

    `start_time` and `end_time`, `begin` and `end`, `offset` and `duration`, and the like, with or without a unit. An
    end alone is that of a range from 0 on. A column of such a name without any number (a time of day) stays as it is.

    Args:
        columns: of the table.
        at: names a row in messages.
        comma: a comma is the decimal sign.

    Returns:
        The columns, the names and the unit of the times, and remarks.

    Raises:
        CorpusError: some values of such a column are numbers, and others are not; or two columns have different units.
    """
    names, unit, remarks = name_times(columns, comma)
    kept, notes, named = dict(columns), list(remarks), dict(names)
    read = {role: numbers(kept.pop(name), "seconds", name, at, comma) for role, name in named.items()}
    if "end" in read:
        if "seconds" in read and named["seconds"] != "seconds":
            kept[named["seconds"]] = read["seconds"]
        ends = read.pop("end")
        if "start" not in read:
            read["start"] = [None if end is None else 0.0 for end in ends]
            notes.append(f"clips are ranges from 0 s on: column {named['end']!r} is there without one of begins")
        spans = zip(read["start"], ends, strict=True)
        read["seconds"] = [None if a is None or b is None else b - a for a, b in spans]
    if "start" in named and any(name != role for role, name in named.items()):
        notes.append(f"clips are ranges of recordings, by the columns {' and '.join(named.values())}")
    # Milliseconds by name are seconds from here on; others are compared with the recordings first.
    if unit == "ms":
        read = {role: [None if value is None else value / 1000 for value in values] for role, values in read.items()}
    return kept | read, Times(named, unit), tuple(notes)


def name_times(
    columns: Mapping[str, Sequence[Any]], comma: bool = False, *, events: bool = False
) -> tuple[dict[str, str], Unit | None, tuple[str, ...]]:
    """Return the columns of times by role (`start`, `end`, `seconds`), the unit in their names, and remarks.

    Args:
        columns: of the table.
        comma: a comma is the decimal sign.
        events: the table is of events, whose times are `onset` and `offset`.

    Raises:
        CorpusError: two columns have different units.
    """
    tidy = {name: _split_unit(str(name)) for name in columns}
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    if events:
        starts, ends = (*_ONSETS, *_STARTS), (*_OFFSETS, *_ENDS)
    else:
        starts, ends = _STARTS if _first(_ONSETS, tidy) else (*_STARTS, *_OFFSETS), _ENDS
    roles = {"start": _first(starts, tidy), "end": _first(ends, tidy), "seconds": _first(_LENGTHS, tidy)}
    notes, named = [], {}
    # Of what an end is the end is known if nothing else could be its begin or length.
    if roles["start"] is None and (events or roles["seconds"] or _first(_ONSETS, tidy)):
        if roles["end"] is not None:
            notes.append(f"column {roles['end']!r} was not read as a time, since no column of begins is there")
        roles["end"] = None
    for role, name in roles.items():
        if name is None:
            continue
        if name not in ("start", "seconds") and not _has_numbers(columns[name], comma):
            notes.append(f"column {name!r} holds no seconds and was not read as a time")
        else:
            named[role] = name
    if not events and roles["start"] is not None and "start" not in named:
        named.pop("end", None)
    units = {tidy[name][1] for name in named.values()} - {None}
    if len(units) > 1:
        raise CorpusError(f"the columns {', '.join(named.values())} have different units; write all times in seconds")
    return named, units.pop() if units else None, tuple(notes)


def _split_unit(name: str) -> tuple[str, Unit | None]:
    text = re.sub(r"[ -]", "_", name.strip().lower().replace(" (", "("))
    if text in (*_STARTS, *_ENDS, *_LENGTHS, *_ONSETS, *_OFFSETS):
        return text, "s" if text == "seconds" else None
    found = _UNIT.search(text)
    if found is None:
        return text, None
    return text[: found.start()], "ms" if found[1].startswith("m") else "s"


def _first(roles: Sequence[str], tidy: Mapping[str, tuple[str, Unit | None]]) -> str | None:
    ranked = [(roles.index(base), name) for name, (base, _) in tidy.items() if base in roles]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _has_numbers(values: Sequence[Any], comma: bool) -> bool:
    def one(value: Any) -> bool:
        try:
            return math.isfinite(float(value.replace(",", ".") if comma and isinstance(value, str) else value))
        except (TypeError, ValueError, OverflowError):
            return False

    return any(one(value) for value in values)


def settle_unit(
    start: Sequence[float | None],
    seconds: Sequence[float | None],
    lengths: Sequence[float],
    times: Times,
    at: Callable[[int], str],
) -> tuple[int, str | None]:
    """Decide by the recordings' lengths whether times are in seconds or milliseconds.

    Args:
        start: `n` begins, None for whole recordings.
        seconds: `n` lengths, None: to the end.
        lengths: `n` lengths of the recordings in seconds; NaN: not known.
        times: names of the columns.
        at: names a row.

    Returns:
        What to divide them by (1 or 1000), and a remark if it is not 1.

    Raises:
        CorpusError: some times can only be milliseconds, and others fit as seconds: a guess.
    """
    begin, span, total = _arrays(start, seconds, lengths)
    end = begin + np.nan_to_num(span)
    timed = np.isfinite(total) & ((begin > 0) | np.isfinite(span))
    bad = timed & ((begin >= total) | (end >= _FAR * total))
    count, wrong = int(timed.sum()), int(bad.sum())
    if not wrong or times.unit is not None:
        return 1, None
    fits = (begin / 1000 < total) & (end / 1000 <= 1.05 * total + 0.1)
    names = " and ".join(times.names.values())
    if not fits[timed].all() or wrong < 0.05 * count:
        return 1, None  # single rows are wrong, and skipped one by one
    if wrong >= 0.5 * count:
        return 1000, f"{names}: read as milliseconds, since as seconds they would lie beyond the recordings"
    first, fitting = int(np.flatnonzero(bad)[0]), int(np.flatnonzero(timed & ~bad)[0])
    named = " and ".join(f"{name}_ms" for name in times.names.values())
    raise CorpusError(
        f"{at(first)}: {names} lie beyond the recording ({total[first]:g} s) unless they are milliseconds, but on "
        f"{at(fitting).rpartition(', ')[2]} they fit as seconds; name the columns {named} if they are milliseconds"
    )


def _arrays(*columns: Sequence[float | None]) -> tuple[NDArray[np.float64], ...]:
    arrays = [np.array([math.nan if v is None else v for v in column], dtype=np.float64) for column in columns]
    arrays[0] = np.nan_to_num(arrays[0])
    return tuple(arrays)
