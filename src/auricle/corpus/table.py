"""A corpus: a table of clips, and the stores of their audio.

A row is a clip: a whole recording, or a range of one. Columns: `file` (unique name of the recording, with forward
slashes), `start` and `seconds` (the range), `label` (None: unlabelled; several labels joined by `;`), `split`, `fold`,
`source` (recordings of one source never belong on both sides of a split), and any others.

Columns whose name begins with `_` are internal: `_store` (index of `Corpus.stores`), `_key`, `_offset` and `_size`
(position in that store), `_whole` (the clip is the whole recording, and `seconds` is for information only), `_rows`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auricle.config import nearest
from auricle.corpus.columns import COLUMNS, EVENT_COLUMNS, HIDDEN, reading_of, split_labels, typed, untyped
from auricle.corpus.content import content_ids, hash_table
from auricle.corpus.ledger import Ledger
from auricle.corpus.segments import Remainder, segment_ranges
from auricle.corpus.stores import FolderStore, Place, Store
from auricle.errors import CorpusError


@dataclass(frozen=True)
class Clip:
    """One row of a corpus.

    Attributes:
        index: row of the corpus.
        file: name of the recording, unique in the corpus.
        path: the recording's own file, or None inside a shard.
        start: start in the recording, in seconds.
        seconds: length.
        labels: empty if unlabelled.
        split: `train`, `valid`, `test` ... or None.
        fold: number of the fold, or None.
        source: origin of the recording (a longer recording, a speaker, a place), or None.
        extra: the other columns.
    """

    index: int
    file: str
    path: Path | None
    start: float
    seconds: float
    labels: tuple[str, ...]
    split: str | None
    fold: int | None
    source: str | None
    extra: dict[str, Any]


@dataclass(frozen=True)
class Event:
    """A labelled range of a recording: `onset` and `offset` in seconds from the recording's (or clip's) start."""

    file: str
    onset: float
    offset: float
    label: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """A table of clips and the stores of their audio. Frozen: every change is a new corpus.

    Attributes:
        table: Arrow table with the columns of this module's docstring.
        stores: the audio; `table["_store"]` is an index of these.
        name: name in reports.
        root: folder of the corpus (for messages; not part of the fingerprint).
        event_table: strong labels (`file`, `onset`, `offset`, `label`, others) or None. A row without times names a
            recording that is annotated and has no events; a recording without a row is not annotated.
        ledger: what came in when the corpus was opened, what of it is used, and why the rest is not.
        notes: remarks on how the corpus was opened.
    """

    table: pa.Table
    stores: tuple[Store, ...]
    name: str
    root: Path
    event_table: pa.Table | None = None
    ledger: Ledger = field(default_factory=Ledger)
    notes: tuple[str, ...] = ()

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Sequence[Any]],
        *,
        root: Path | str,
        name: str | None = None,
        store: Store | None = None,
        events: Iterable[Event] | pa.Table | None = None,
        ledger: Ledger | None = None,
        notes: tuple[str, ...] = (),
    ) -> Corpus:
        """Make a corpus from columns of equal length; `file` and `seconds` are needed, the others have defaults.

        Examples:
            >>> columns = {"file": ["a.wav"], "seconds": [2.5], "label": ["dog;rain"]}
            >>> corpus = Corpus.from_columns(columns, root="sounds")
            >>> [clip.seconds for clip in corpus.segments(1.0)], corpus.classes
            ([1.0, 1.0, 0.5], ('dog', 'rain'))

        Args:
            columns: values per column name. With `start` the clips are ranges of their recordings, otherwise whole.
            root: folder that `file` is relative to.
            name: name in reports; by default the root's.
            store: the audio; by default loose files below the root.
            events: strong labels.
            ledger: of what came in; None: all recordings are used.
            notes: remarks.

        Raises:
            CorpusError: a needed column is missing, or two columns differ in length.
        """
        for needed in ("file", "seconds"):
            if needed not in columns:
                raise CorpusError(f"a corpus needs the column {needed!r}; found {', '.join(columns)}")
        lengths = {name: len(values) for name, values in columns.items()}
        count = lengths["file"]
        if len(set(lengths.values())) > 1:
            raise CorpusError(f"the columns of a corpus differ in length: {lengths}")
        defaults: dict[str, Any] = {
            **dict.fromkeys(("start", "_store", "_rows"), pa.array(np.zeros(count))),
            "_key": columns["file"],
            **dict.fromkeys(("_offset", "_size"), pa.array(np.full(count, -1))),
            "_whole": pa.array(np.full(count, "start" not in columns)),
        }
        arrays: dict[str, pa.Array] = {}
        for column, kind in COLUMNS.items():
            arrays[column] = typed(column, columns.get(column, defaults.get(column, pa.nulls(count))), kind)
        for column, values in columns.items():
            if column not in COLUMNS and column not in HIDDEN:
                arrays[column] = untyped(values)
        for column, kind in HIDDEN.items():
            arrays[column] = typed(column, columns.get(column, defaults[column]), kind)
        if events is not None and not isinstance(events, pa.Table):
            events = _event_table(events)
        root = Path(root)
        return cls(
            pa.table(arrays),
            (store or FolderStore(root),),
            name or root.resolve().name,
            root,
            events,
            ledger or Ledger().add("recording", used=len(set(columns["file"]))),
            notes,
        )

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: int) -> Clip:
        index = self._place(index)
        row = self._row(index)
        place = Place(row["_key"], row["_offset"], row["_size"])
        extra = {k: v for k, v in row.items() if k not in COLUMNS and k not in HIDDEN}
        path = self.stores[row["_store"]].path(place)
        labels = split_labels(row["label"])
        known = (row["start"], row["seconds"], labels, row["split"], row["fold"], row["source"])
        return Clip(index, row["file"], path, *known, extra)

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))

    def _place(self, index: int) -> int:
        """Return the row of an index that may count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of a corpus of {len(self)}")
        return index % len(self)

    def _row(self, index: int) -> dict[str, Any]:
        return self.table.slice(index, 1).to_pylist()[0]

    def is_whole(self, index: int) -> bool:
        """Return whether a clip is its whole recording."""
        return bool(self.table.column("_whole")[index].as_py())

    def audio(self, index: int, rate: float = 16000, *, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
        """Decode a clip, or a range of it, to float32 `(S,)` in [-1, 1], mono, at `rate` Hz.

        `auricle.corpus.reading.read_as` sets the channel and the time expansion that it is read with.

        Args:
            index: row of the clip.
            rate: sample rate of the result in Hz.
            start: in seconds from the clip's start.
            seconds: length to read; None: to the clip's end.

        Raises:
            AudioError: the recording is missing or broken.
            IndexError: there is no such row.
        """
        row = self._row(self._place(index))
        place = Place(row["_key"], row["_offset"], row["_size"])
        if not row["_whole"]:
            left = row["seconds"] - start
            seconds = left if seconds is None else min(seconds, left)
        channel, expansion = reading_of(row)
        store = self.stores[row["_store"]]
        return store.decode(
            place, start=row["start"] + start, seconds=seconds, rate=round(rate * expansion), channel=channel
        )

    @property
    def columns(self) -> list[str]:
        """Names of the visible columns."""
        return [name for name in self.table.column_names if name not in HIDDEN]

    def column(self, name: str) -> list[Any]:
        """Return a column's values; None for clips without one.

        Raises:
            CorpusError: there is no such column.
        """
        if name not in self.table.column_names:
            raise CorpusError(f"corpus {self.name} has no column {name!r}{nearest(name, self.columns)}")
        return self.table.column(name).to_pylist()

    def with_column(self, name: str, values: Sequence[Any]) -> Corpus:
        """Return a copy with a column added or replaced."""
        kind = COLUMNS.get(name, HIDDEN.get(name))
        array = typed(name, values, kind) if kind is not None else untyped(values)
        if len(array) != len(self):
            raise CorpusError(f"column {name!r} has {len(array)} values; corpus {self.name} has {len(self)} clips")
        if name in self.table.column_names:
            table = self.table.set_column(self.table.column_names.index(name), name, array)
        else:
            table = self.table.append_column(name, array)
        return replace(self, table=table)

    @cached_property
    def labels(self) -> list[tuple[str, ...]]:
        """The labels of each clip."""
        return [split_labels(text) for text in self.column("label")]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The label vocabulary, sorted; empty where nothing is labelled."""
        return tuple(sorted({label for labels in self.labels for label in labels}))

    @property
    def seconds(self) -> float:
        """Length of all clips together, in seconds."""
        return float(sum(self.column("seconds")))

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of everything that the corpus holds: its audio, ranges, labels, events, other columns.

        The audio counts by its bytes (see `corpus.content`). The folder, the times of files, the columns of a scan and
        the rounding of whole recordings' durations are no part of it.
        """
        digest = hashlib.sha256(self.table_fingerprint.encode() + b"".join(content_ids(self)))
        if self.event_table is not None:
            # Rows of recordings without events count, too: they say that nothing is to be found there.
            files = pc.unique(self.table.column("file"))
            own = self.event_table.filter(pc.is_in(self.event_table.column("file"), value_set=files))
            digest.update(hash_table(own, own.column_names).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def table_fingerprint(self) -> str:
        """The same of the table alone: names, sizes, ranges, labels, other columns, in order; no audio is read."""
        return hash_table(self.table, ["_size", *self.columns])

    @property
    def events(self) -> list[Event]:
        """Strong labels of the recordings of this corpus, in the recording's own time."""
        if self.event_table is None:
            return []
        files = pc.unique(self.table.column("file"))
        kept = self.event_table.filter(pc.is_in(self.event_table.column("file"), value_set=files))
        kept = kept.filter(pc.is_valid(kept.column("onset")))
        return [Event(**row) for row in kept.select(list(EVENT_COLUMNS)).to_pylist()]

    @cached_property
    def annotated(self) -> frozenset[str]:
        """Recordings whose events are annotated, those without any included; nothing is known of the others."""
        return frozenset(() if self.event_table is None else pc.unique(self.event_table.column("file")).to_pylist())

    @cached_property
    def _events_by_file(self) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.file, []).append(event)
        return found

    def events_of(self, index: int) -> list[Event]:
        """Return the strong labels inside a clip, in the clip's own time, cut at its ends."""
        clip = self[index]
        end = clip.start + clip.seconds
        return [
            Event(e.file, max(e.onset, clip.start) - clip.start, min(e.offset, end) - clip.start, e.label)
            for e in self._events_by_file.get(clip.file, [])
            if e.offset > clip.start and e.onset < end
        ]

    def select(self, rows: Sequence[int] | Sequence[bool] | np.ndarray) -> Corpus:
        """Return the clips of these rows (in this order), or where a mask is true."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if len(chosen) != len(self):
                raise CorpusError(f"a mask of {len(chosen)} rows can't select from a corpus of {len(self)} clips")
            chosen = np.flatnonzero(chosen)
        return replace(self, table=self.table.take(pa.array(chosen.astype(np.int64))))

    def filter(self, keep: Callable[[Clip], bool]) -> Corpus:
        """Return the clips for which `keep` is true."""
        return self.select(np.fromiter((keep(clip) for clip in self), dtype=bool, count=len(self)))

    def segments(self, seconds: float, hop: float | None = None, *, last: Remainder = "short") -> Corpus:
        """Divide clips longer than `seconds` into ranges of that length; no audio is copied.

        Args:
            seconds: length of a segment. Clips that are no longer stay whole.
            hop: time between the starts of two segments; None: the segment length.
            last: what becomes of a remainder: a `short` segment (if at least a tenth of `seconds`), a full segment that
                ends with the clip (`shift`), or nothing (`drop`).

        Raises:
            ConfigError: a length is not above 0.
        """
        ranges = segment_ranges(self.column("seconds"), seconds, hop, last)
        rows = np.array([row for row, _, _ in ranges], dtype=np.int64)
        starts, whole, lengths = self.column("start"), self.column("_whole"), self.column("seconds")
        made = self.select(rows).with_column("start", [starts[row] + offset for row, offset, _ in ranges])
        made = made.with_column("seconds", [length for _, _, length in ranges])
        made = made.with_column("_rows", np.where(np.diff(rows, prepend=-1) != 0, made.column("_rows"), 0).tolist())
        return made.with_column("_whole", [whole[row] and lengths[row] <= seconds for row in rows])


def _event_table(events: Iterable[Event]) -> pa.Table:
    listed = list(events)
    return pa.table(
        {name: pa.array([getattr(e, name) for e in listed], type=kind) for name, kind in EVENT_COLUMNS.items()}
    )
