"""The verb `index`: vectors of recordings, added to a library."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auricle.answers.known_recordings import Comparison, compare, moved_rows
from auricle.answers.library import RECORD, LibraryRecord, check_made_by
from auricle.answers.segment_table import lance_errors, open_segments, rows_of, scan
from auricle.answers.spaces import Space, open_space
from auricle.corpus.content import clip_keys, content_ids
from auricle.corpus.ledger import Ledger, beside
from auricle.corpus.losses import clip_names, silence, with_losses
from auricle.corpus.reading import band_notes, read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.stores import Store
from auricle.corpus.table import Corpus
from auricle.encoders.features import FeaturesConfig
from auricle.errors import ConfigError, CorpusError, Reason, StorageError
from auricle.models.opening import Model
from auricle.tokens.embeddings import encoded_clips
from auricle.tokens.extract import clip_progress
from auricle.training.lock import RunLock
from auricle.words import counted, was

# Between two commits: a kill loses at most these.
_COMMIT_SECONDS = 10.0
# Larger numbers are infinite in float16.
_LARGEST = float(np.finfo(np.float16).max)
# Rows of one call of Lance's `delete`.
_DELETED = 10_000
# One vector of a longer clip says little of any moment in it.
_LONG = 60.0
_HELD = "a library that another process is adding to"


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


def index(
    model: str | Path | Model,
    data: str | Path | Corpus,
    out: str | Path,
    *,
    segment: float | None = None,
    hop: float | None = None,
    space: Literal["encoder", "text"] | None = None,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    batch: int = 16,
    device: str = "auto",
    precision: str = "fp32",
    trust_remote_code: bool = False,
    features: str | FeaturesConfig = "recipe",
    progress: bool = True,
) -> IndexedRecordings:
    """Add the vectors of recordings to a library, which is made where there is none.

    A recording counts by its content: what the library has is not encoded again, under whatever name; a recording that
    was moved is read from its new place; the rows of one that was changed are replaced; copies are skipped. A killed
    call is continued by the same call, which adds what is missing.

    Args:
        model: a model, or what `load` opens.
        data: a corpus, or what `open_corpus` opens.
        out: folder of the library.
        segment: divide recordings into segments of this many seconds: one row per segment; None: that of the library,
            of a new one whole clips.
        hop: seconds between the starts of two segments; None: that of the library, of a new one `segment`.
        space: `encoder`: the clip vectors of the model; `text`: the space that a model of audio and text shares with
            texts, so that a text finds sounds; None: that of the library, of a new one `encoder`.
        channel: channel that is read, see `auricle.corpus.reading.read_as`; None: that of the library.
        time_expansion: how many times slower recordings are played, see there; None: that of the library.
        batch: clips encoded at once, at most.
        device: see `load`; ignored for a `Model`, like the next three.
        precision: see `load`.
        trust_remote_code: see `load`.
        features: see `load`.
        progress: show a progress bar.

    Raises:
        CheckpointError: there is no such model, it has no text tower, or another process is adding to the library.
        CorpusError: there is no such data, the library was made by another model, or no clip could be encoded.
        ConfigError: a setting is out of range, or not the library's.
        StorageError: the library can't be written, is damaged, or `out` holds anything else.
        MissingExtraError: LanceDB is not installed.

    Examples:
        >>> import auricle
        >>> auricle.index("runs/mine", "recordings", "library", segment=5, hop=2.5)  # doctest: +SKIP
    """
    out = Path(out)
    if batch < 1:
        raise ConfigError(f"found batches of {batch} clips, expected at least 1")
    if hop is not None and segment is None and not (out / RECORD).is_file():
        raise ConfigError("hop needs segment: the length of the segments")
    _check_folder(out)
    reading = {"channel": None if channel is None else str(channel), "time_expansion": time_expansion}
    chosen = {"segment": segment, "hop": hop, "space": space, **reading}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    before = _read(out, given)
    if before is not None:
        given = {name: getattr(before, name) for name in chosen}
    clips = data if isinstance(data, Corpus) else open_corpus(data)
    clips = read_as(clips, given.get("channel"), given.get("time_expansion"))
    if given.get("segment") is not None:
        clips = clips.segments(given["segment"], given.get("hop"))
    kind = given.pop("space", "encoder")
    opened = open_space(
        model, kind, device=device, precision=precision, trust_remote_code=trust_remote_code, features=features
    )
    made = LibraryRecord(None if isinstance(model, Model) else _absolute(str(model)), **opened.facts, **given)
    with RunLock(out, _HELD):
        # Another process may have added to it, or made it, while the model was opened.
        before = _read(out, {name: getattr(made, name) for name in chosen}) or made
        check_made_by(before, out, opened.fingerprint, opened.name)
        return _Addition(out, before, opened, clips).run(batch, progress)


class _Addition:
    """One call of `index`: the clips of a corpus, added to the table of a library."""

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
        """Add what the library lacks, and return the account of it."""
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
        replaced = self._delete(known, found.changed)
        with lance_errors(self.folder):
            self.table.optimize()
            rows = int(self.table.count_rows())
        return self._account(known, found, replaced, rows)

    def _move(self, known: pa.Table, found: Comparison) -> None:
        """Give the rows of moved recordings their new place, in one step."""
        if found.moved:
            with lance_errors(self.folder):
                rows = moved_rows(known, found.moved)
                self.table.merge_insert("id").when_matched_update_all().execute(rows)

    def _delete(self, known: pa.Table, contents: set[bytes]) -> int:
        """Delete the rows of recordings whose place holds something else now, once that was added."""
        gone = known.filter(pc.is_in(known.column("recording"), value_set=pa.array(list(contents), pa.binary(16))))
        ids = gone.column("id").to_pylist()
        if ids:
            # A number is never given to another row, also where that with the highest is deleted.
            with lance_errors(self.folder):
                top = max(scan(self.table, ["id"]).column("id").to_pylist())
            self.record = dataclasses.replace(self.record, next_id=top + 1)
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
        if found.moved:
            notes.append(f"{counted(len(found.moved), 'recording')} of the library {was(len(found.moved))} found moved")
        if replaced:
            notes.append(
                f"{counted(replaced, 'row')} of {counted(len(found.changed), 'recording')} that changed {was(replaced)} "
                "replaced by those of the new content"
            )
        broken = {name: why for name, why in self.broken.items() if why.cause != "silent"}
        everything = {**self.corpus.ledger.reasons(), **broken}
        return IndexedRecordings(self.folder, self.added, rows, ledger, everything, tuple(notes))


def _check_folder(out: Path) -> None:
    """Refuse a path that holds anything but a library."""
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out} is a file; expected the folder of a library: choose another --out")
    held = sorted(p.name for p in out.iterdir() if not p.name.startswith(".")) if out.is_dir() else []
    if held and RECORD not in held:
        raise StorageError(
            f"{out} holds {held[0]}{' and more' if len(held) > 1 else ''} and no {RECORD}; expected an empty or new "
            "folder, or a library: choose another --out"
        )


def _read(folder: Path, given: dict[str, Any]) -> LibraryRecord | None:
    """Return the record of a library; None where there is none.

    Raises:
        ConfigError: settings are not those of the library: its rows could not be compared.
        StorageError: the record is damaged.
    """
    if not (folder / RECORD).is_file():
        return None
    record = LibraryRecord.read(folder)
    own = {name: getattr(record, name) for name in given}
    # Without a hop, segments follow each other.
    hops = {record.hop, record.segment} if record.hop is None else {record.hop}
    other = [name for name in given if given[name] != own[name] and not (name == "hop" and given[name] in hops)]
    if other:
        name = other[0]
        flag = name.replace("_", "-")
        was, now = ("none" if value is None else value for value in (own[name], given[name]))
        raise ConfigError(
            f"the library {folder} has {name.replace('_', ' ')} {was}, and --{flag} is {now}: all its rows are made "
            f"alike. Leave --{flag} out to add to it, or choose another --out"
        )
    return record


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


def _absolute(model: str) -> str:
    """Return what `load` opens, whatever the working directory."""
    return str(Path(model).resolve()) if Path(model).exists() else model
