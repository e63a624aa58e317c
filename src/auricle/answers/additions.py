"""One addition to a library: what it lacks of a corpus is encoded and appended, what changed is replaced."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auricle.answers.approximate import EXACT_BELOW, approximate
from auricle.answers.known_recordings import Comparison, compare, moved_rows
from auricle.answers.library import LibraryRecord
from auricle.answers.segment_table import lance_errors, open_segments, rows_of, scan
from auricle.answers.spaces import Space
from auricle.corpus.content import clip_keys, content_ids
from auricle.corpus.ledger import Ledger, beside
from auricle.corpus.losses import clip_names, silence, with_losses
from auricle.corpus.reading import band_notes
from auricle.corpus.stores import Store
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError, Reason
from auricle.tokens.embeddings import encoded_clips
from auricle.tokens.extract import clip_progress
from auricle.words import counted, was

# Between two commits: a kill loses at most these.
_COMMIT_SECONDS = 10.0
# Larger numbers are infinite in float16.
_LARGEST = float(np.finfo(np.float16).max)
# Rows of one call of Lance's `delete`.
_DELETED = 10_000
# Earlier versions of the table are kept for those who read them.
_KEPT = timedelta(days=1)
# One vector of a longer clip says little of any moment in it.
_LONG = 60.0


@dataclass(frozen=True)
class IndexedRecordings:
    """Result of `index`.

    Attributes:
        path: folder of the library.
        added: number of rows that were added.
        rows: number of rows that the library has now.
        ledger: what came in, what of it has a row, and why the rest has none; `ledger.jsonl` in the folder has it, too.
        broken: clips without a row -> the reason.
        notes: remarks.
    """

    path: Path
    added: int
    rows: int
    ledger: Ledger = field(default_factory=Ledger)
    broken: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Addition:
    """One call of `index`: the clips of a corpus, added to the table of a library.

    Args:
        folder: of the library, locked.
        record: of the library, which is written.
        space: the library's model.
        corpus: the clips.

    Raises:
        StorageError: the library can't be written, or is damaged.
    """

    def __init__(self, folder: Path, record: LibraryRecord, space: Space, corpus: Corpus) -> None:
        self.folder, self.space, self.corpus = folder, space, corpus
        stores, self.stores = _numbered(record.stores, corpus.stores)
        self.record = dataclasses.replace(record, stores=stores)
        self.record.write(folder)
        self.table = open_segments(folder, record.width)
        self.clips, self.recordings = clip_keys(corpus), content_ids(corpus)
        self.added = 0
        self.broken: dict[str, Reason] = {}

    def run(self, batch: int, progress: bool) -> IndexedRecordings:
        """Add what the library lacks, and return the account of it.

        Args:
            batch: clips encoded at once, at most.
            progress: show a progress bar.

        Raises:
            CorpusError: the library has no row after that.
            StorageError: the library can't be written, or is damaged.
        """
        columns = ["id", "file", "store", "key", "offset", "recording", "clip", "silent"]
        with lance_errors(self.folder):
            known = scan(self.table, columns)
        found = compare(known, self.corpus, self.recordings, self.stores, self.record.stores)
        self._move(known, found)
        there = set(known.column("clip").to_pylist())
        todo = self._todo(there, found.copies)
        top = pc.max(known.column("id")).as_py()
        self.record = dataclasses.replace(self.record, next_id=max(self.record.next_id, -1 if top is None else top + 1))
        self._encode(todo, found.files, batch, progress)
        replaced = self._delete(known, found.changed, self.record.next_id + len(todo))
        with lance_errors(self.folder):
            self.table.optimize(cleanup_older_than=_KEPT)
            rows = int(self.table.count_rows())
        self._approximate(rows)
        return self._account(known, found, replaced, rows)

    def _approximate(self, rows: int) -> None:
        """Prepare the approximate search of a large library, and measure it."""
        near = self.record.approximate
        if rows < EXACT_BELOW or (near and near.rows == rows and not self.added):
            return
        # What a kill leaves of it is not used: searches are exact until it is measured.
        self.record = dataclasses.replace(self.record, approximate=None)
        self.record.write(self.folder)
        with lance_errors(self.folder):
            near = approximate(self.table, rows, near)
        self.record = dataclasses.replace(self.record, approximate=near)
        self.record.write(self.folder)

    def _move(self, known: pa.Table, found: Comparison) -> None:
        """Give the rows of moved recordings their new place, in one step."""
        if found.moved:
            with lance_errors(self.folder):
                rows = moved_rows(known, found.moved)
                self.table.merge_insert("id").when_matched_update_all().execute(rows)

    def _delete(self, known: pa.Table, contents: set[bytes], next_id: int) -> int:
        """Delete the rows of recordings whose place holds something else now, once that was added."""
        gone = known.filter(pc.is_in(known.column("recording"), value_set=pa.array(list(contents), pa.binary(16))))
        ids = gone.column("id").to_pylist()
        if ids:
            # A number is never given to another row, also where that with the highest is deleted.
            self.record = dataclasses.replace(self.record, next_id=next_id)
            self.record.write(self.folder)
            with lance_errors(self.folder):
                for begin in range(0, len(ids), _DELETED):
                    self.table.delete(f"id IN ({', '.join(map(str, ids[begin : begin + _DELETED]))})")
        return len(ids)

    def _todo(self, there: set[bytes], copies: dict[int, str]) -> np.ndarray:
        """Return the rows to encode, in the order of the corpus."""
        found, waiting = [], set(there)
        for row, key in enumerate(self.clips):
            if row in copies or (key and key in waiting):
                continue
            waiting.add(key)
            found.append(row)
        return np.array(found, dtype=np.int64)

    def _encode(self, todo: np.ndarray, files: Sequence[str], batch: int, progress: bool) -> None:
        seconds = np.asarray(self.corpus.column("seconds"), dtype=np.float64)[todo]
        order = todo[np.argsort(seconds, kind="stable")]
        ids = dict(zip(todo.tolist(), range(self.record.next_id, self.record.next_id + len(todo)), strict=True))
        with clip_progress("indexing", progress) as bar:
            task = bar.add_task("", total=len(self.corpus), completed=len(self.corpus) - len(todo))
            began, waiting = time.monotonic(), list[tuple[list[int], np.ndarray]]()
            for rows, vectors, count in encoded_clips(self.space.encoder, self.corpus, order, self.broken, batch):
                waiting.append(self._usable(rows, vectors))
                bar.update(task, completed=len(self.corpus) - len(todo) + count)
                if count == len(todo) or time.monotonic() - began > _COMMIT_SECONDS:
                    self._commit(waiting, files, ids)
                    began, waiting = time.monotonic(), []

    def _usable(self, rows: list[int], vectors: np.ndarray) -> tuple[list[int], np.ndarray]:
        """Return the clips whose vectors can be kept in float16, in the library's space."""
        if not rows:
            return rows, np.zeros((0, self.record.width), np.float32)
        placed = self.space.place(vectors)
        fits = (np.abs(placed) <= _LARGEST).all(1)
        kept = fits & placed.astype(np.float16).any(1)
        for row, fit in zip(np.asarray(rows)[~kept].tolist(), fits[~kept].tolist(), strict=True):
            said = "its vector is zero in float16" if fit else "its vector is too large for float16"
            self.broken[clip_names(self.corpus, [row])[0]] = Reason(said, "no vector in float16")
        unknown = np.array([not self.clips[row] for row in rows])
        for row in np.asarray(rows)[unknown & kept].tolist():
            said = "it could not be read when its content was looked up; run the same command again"
            self.broken[clip_names(self.corpus, [row])[0]] = Reason(said, "unreadable")
        kept &= ~unknown
        return np.asarray(rows)[kept].tolist(), placed[kept]

    def _commit(self, waiting: list[tuple[list[int], np.ndarray]], files: Sequence[str], ids: dict[int, int]) -> None:
        rows = [row for some, _ in waiting for row in some]
        if not rows:
            return
        silent = {name for name, why in self.broken.items() if why.cause == "silent"}
        names = clip_names(self.corpus, rows) if silent else [""] * len(rows)
        made = rows_of(
            self.corpus,
            rows,
            np.concatenate([vectors for _, vectors in waiting]),
            ids=np.array([ids[row] for row in rows]),
            files=[files[row] for row in rows],
            stores=self.stores,
            recordings=[self.recordings[row] for row in rows],
            clips=[self.clips[row] for row in rows],
            silent=[name in silent for name in names],
        )
        with lance_errors(self.folder):
            self.table.add(made)
        self.added += len(rows)

    def _account(self, known: pa.Table, found: Comparison, replaced: int, rows: int) -> IndexedRecordings:
        quiet = set(known.filter(known.column("silent")).column("clip").to_pylist())
        named = enumerate(clip_names(self.corpus, range(len(self.corpus))) if self.broken else ())
        reasons = {row: self.broken[name] for row, name in named if name in self.broken}
        silent = {row: reasons.pop(row) for row in [r for r, reason in reasons.items() if reason.cause == "silent"]}
        silent |= {row: silence(0.0) for row, key in enumerate(self.clips) if key in quiet}  # type: ignore[misc]
        reasons |= {row: Reason(f"its recording is a copy of {of}", "copy") for row, of in found.copies.items()}
        if rows == 0:
            first = next((f"{name!r}: {why}" for name, why in self.broken.items()), "the corpus holds no clips")
            raise CorpusError(f"no clip of {self.corpus.name} could be encoded ({first}); see `auricle corpus scan`")
        ledger = with_losses(self.corpus, reasons, silent)
        ledger.write(beside(self.folder))
        notes = [*self.corpus.notes, *band_notes(self.corpus, self.record.rate)]
        long = sum(seconds > _LONG for seconds in self.corpus.column("seconds"))
        if long and self.record.segment is None:
            notes.append(
                f"{counted(long, 'clip')} of more than {_LONG:g} s {'has' if long == 1 else 'have'} one vector each; "
                "set --segment in a new library for one every few seconds"
            )
        if self.record.approximate is not None:
            notes.append(
                f"searches of {rows:,} rows are {self.record.approximate.words}; --exact compares every vector"
            )
        if found.moved:
            notes.append(f"{counted(len(found.moved), 'recording')} of the library {was(len(found.moved))} found moved")
        if replaced:
            notes.append(
                f"{counted(replaced, 'row')} of {counted(len(found.changed), 'recording')} that changed "
                f"{was(replaced)} replaced by those of the new content"
            )
        broken = {name: why for name, why in self.broken.items() if why.cause != "silent"}
        everything = {**self.corpus.ledger.reasons(), **broken}
        return IndexedRecordings(self.folder, self.added, rows, ledger, everything, tuple(notes))


def _numbered(known: Sequence[dict[str, Any]], stores: Sequence[Store]) -> tuple[tuple[dict[str, Any], ...], list[int]]:
    """Return the stores of a library with those of a corpus, and the numbers of the latter."""
    listed = list(known)
    numbers = []
    for store in stores:
        data = store.describe()
        if "root" in data:
            data["root"] = str(Path(data["root"]).resolve())
        if data not in listed:
            listed.append(data)
        numbers.append(listed.index(data))
    return tuple(listed), numbers
