"""Several rows of one clip: repeated, one per label, or contradictory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from auricle.corpus.columns import split_labels
from auricle.corpus.ledger import Entry
from auricle.words import counted

# A clip can be of one split, fold and source only.
_ONE = ("split", "fold", "source")


def merge_rows(
    columns: dict[str, list[Any]], rows: Sequence[int], at: Callable[[int], str]
) -> tuple[dict[str, list[Any]], list[int], dict[int, Entry], tuple[str, ...]]:
    """Merge the rows of each clip (one recording, one range) into one.

    Equal rows are one. Rows that differ in their label become one clip with several labels. Rows that differ in split,
    fold or source contradict each other: that clip is skipped. Rows that differ only in other columns (captions) stay
    clips.

    Args:
        columns: with our names; `file` as in the corpus.
        rows: row of the table behind each, for messages.
        at: names a row of the table.

    Returns:
        Columns, number of table rows behind each clip, skipped rows (by their place in `rows`), remarks.
    """
    count = len(columns["file"])
    starts = columns.get("start") or [None] * count
    groups = _alike(columns["file"], starts, columns.get("seconds") or [None] * count)
    if not groups:
        return columns, [1] * count, {}, ()
    behind, gone = [1] * count, set()
    entries: dict[int, Entry] = {}
    labelled, apart, other = 0, 0, set()
    visible = [name for name in columns if not name.startswith("_") and name != "seconds"] + (
        ["seconds"] if any(start is not None for start in starts) else []
    )
    merged = {name: list(values) for name, values in columns.items()}
    for group in groups:
        distinct: dict[Any, int] = {}
        for i in group:
            first = distinct.setdefault(tuple(_plain(columns[name][i]) for name in visible), i)
            if first != i:
                gone.add(i)
                entries[i] = _skip(at, rows[i], f"it repeats {_line(at, rows[first])}", "repeated")
        left = list(distinct.values())
        unlike = [name for name in visible if len({_plain(columns[name][i]) for i in left}) > 1]
        conflict = next((name for name in _ONE if name in unlike), None)
        if conflict is not None:
            shown = " and ".join(f"{columns[conflict][i]!r} on {_line(at, rows[i])}" for i in left[:2])
            gone.update(left)
            entries |= {i: _skip(at, rows[i], f"its {conflict} is {shown}", "contradictory") for i in left}
        elif "label" in unlike:
            labelled += 1
            keep, rest = left[0], left[1:]
            gone.update(rest)
            behind[keep] = len(left)
            for name in unlike:
                merged[name][keep] = _together(columns[name][i] for i in left)
        elif len(left) > 1:
            apart += 1
            other.update(unlike)
    notes = []
    if labelled:
        notes.append(f"several rows of one label each, merged into several labels: {counted(labelled, 'clip')}")
    if apart:
        notes.append(
            f"several rows, which differ in {', '.join(sorted(other))}, so that each is a clip: "
            f"{counted(apart, 'recording')}"
        )
    kept = [i for i in range(count) if i not in gone]
    made = {name: [values[i] for i in kept] for name, values in merged.items()}
    return made, [behind[i] for i in kept], entries, tuple(notes)


def _alike(files: Sequence[str], starts: Sequence[float | None], spans: Sequence[float | None]) -> list[list[int]]:
    """Return the rows of each clip that has several, in the order of their first rows."""
    ranges = [np.array(values, dtype=np.float64) for values in (starts, spans)]  # None becomes NaN
    ranges[1][np.isnan(ranges[0])] = np.nan  # a whole recording, however long the table says it is
    columns = [pa.array(files).dictionary_encode().indices.to_numpy(), *ranges]
    order = np.lexsort(columns[::-1])
    same = np.ones(max(0, len(order) - 1), dtype=bool)
    for column in columns:
        first, second = column[order[:-1]], column[order[1:]]
        same &= (first == second) | ((first != first) & (second != second))
    ends = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    return sorted(order[begin : end + 1].tolist() for begin, end in zip(ends[::2], ends[1::2], strict=True))


def case_variants(labels: Iterable[str | None]) -> tuple[str, ...]:
    """Return a remark on labels that differ only in upper and lower case."""
    counts = Counter(labels)
    split: Counter[str] = Counter()
    for text, count in counts.items():
        for label in split_labels(text):
            split[label] += count
    same: dict[str, list[str]] = {}
    for label in split:
        same.setdefault(label.casefold(), []).append(label)
    unlike = [", ".join(f"{label} ({split[label]})" for label in group) for group in same.values() if len(group) > 1]
    if not unlike:
        return ()
    more = f" and {len(unlike) - 5} more" if len(unlike) > 5 else ""
    return (f"labels that differ only in case are different labels: {'; '.join(unlike[:5])}{more}",)


def _skip(at: Callable[[int], str], row: int, reason: str, cause: str) -> Entry:
    return Entry("row", at(row), reason, cause)


def _line(at: Callable[[int], str], row: int) -> str:
    return at(row).rpartition(", ")[2]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else repr(value)


def _together(values: Iterable[Any]) -> str | None:
    texts = [part for value in values if value is not None for part in str(value).split(";")]
    return ";".join(dict.fromkeys(part.strip() for part in texts if part.strip())) or None
