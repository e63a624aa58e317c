"""Identities of recordings by their bytes: what caches, results and resumed runs are found by.

A recording of at most 2 MiB is hashed whole, so that any changed byte changes its identity. Of a longer one, its length
and 32 blocks of 32 KiB at even distances, the first and the last among them, are hashed: a change that keeps the length
and lies between two blocks is not noticed. Names, folders and times are no part of an identity: a copy on another disk,
or in a shard, has the same one.

Identities are remembered in the user's cache folder as long as size, times (of the content and of the inode, which no
program can set) and inode of the file stay as they were, so that only the first look at a corpus reads it.
"""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import track

from auricle.corpus.columns import READ_CHANNEL, READ_EXPANSION, SCAN_PREFIX, reading_of
from auricle.corpus.stores import Place, Store
from auricle.errors import AudioError
from auricle.storage import user_cache

if TYPE_CHECKING:
    from auricle.corpus.table import Corpus

WHOLE, BLOCK, BLOCKS = 1 << 21, 1 << 15, 32
# Raise when decoding changes samples: what was made of the old ones is then made again.
DECODING = 2
_THREADS, _LOOKS = 8, 64
# A file that changed this recently may change again within one tick of its clock.
_RECENT_NS = 2_000_000_000
# Below this number of recordings no progress is shown.
_MANY = 5000
# Facts that are made and kept at once.
_CHUNK = 1000


def content_ids(corpus: Corpus) -> list[bytes]:
    """Identify the recording of each clip by its bytes: 16 bytes each; none (`b""`) where it can't be read.

    Examples:
        >>> from auricle.corpus.table import Corpus
        >>> content_ids(Corpus.from_columns({"file": ["missing.wav"], "seconds": [1.0]}, root="nowhere"))
        [b'']
    """
    columns = [corpus.table.column(name).to_pylist() for name in ("_store", "_key", "_offset", "_size")]
    places = list(zip(*columns, strict=True))
    unique = list(dict.fromkeys(places))
    found = dict(zip(unique, _identities([(corpus.stores[s], Place(*p)) for s, *p in unique]), strict=True))
    return [found[place] for place in places]


def clip_keys(corpus: Corpus) -> list[bytes]:
    """Identify each clip by its recording's content, range and channel: 16 bytes each; none where it can't be read."""
    keys = []
    names = [n for n in ("_whole", "start", "seconds", READ_CHANNEL, READ_EXPANSION) if n in corpus.table.column_names]
    rows = zip(*(corpus.table.column(name).to_pylist() for name in names), strict=True)
    for content, row in zip(content_ids(corpus), rows, strict=True):
        whole, start, seconds, *_ = row
        span = struct.pack("<Bdd", DECODING, *((start, -1.0) if whole else (start, seconds)))
        read = reading_of(dict(zip(names, row, strict=True)))
        span += b"" if read == ("mix", 1.0) else str(read).encode()
        keys.append(hashlib.blake2b(content + span, digest_size=16).digest() if content else b"")
    return keys


def kept_facts(kind: str, keys: Sequence[bytes], make: Callable[[list[bytes]], Sequence[bytes]]) -> dict[bytes, bytes]:
    """Return what was computed of clips, by their key: remembered from an earlier call, or made now.

    Args:
        kind: of the facts, with a version: another version is computed anew.
        keys: of clips (`clip_keys`).
        make: computes the facts of keys that are not remembered, in order, at most 1,000 at once; what is empty is not
            remembered.
    """
    found: dict[bytes, bytes] = {}
    with _index() as index, suppress(sqlite3.Error):
        if index is not None:
            for key in keys:
                row = index.execute("SELECT fact FROM facts WHERE kind = ? AND clip = ?", (kind, key)).fetchone()
                if row is not None:
                    found[key] = row[0]
    new = [key for key in keys if key not in found]
    # Kept part by part: a kill loses at most one.
    for start in range(0, len(new), _CHUNK):
        part = new[start : start + _CHUNK]
        made = dict(zip(part, make(part), strict=True))
        found |= made
        with _index() as index, suppress(sqlite3.Error):
            if index is not None:
                with index:
                    index.execute(
                        "CREATE TABLE IF NOT EXISTS facts (kind TEXT, clip BLOB, fact BLOB, PRIMARY KEY (kind, clip)) "
                        "WITHOUT ROWID"
                    )
                    rows = [(kind, key, fact) for key, fact in made.items() if fact]
                    index.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", rows)
    return found


def hash_table(table: pa.Table, columns: Sequence[str]) -> str:
    """Return 16 hexadecimal digits of these columns, in order, without those of a scan.

    The rounding of whole recordings' durations does not count.
    """
    digest = hashlib.sha256()
    for name in columns:
        if name.startswith(SCAN_PREFIX):
            continue
        column = table.column(name)
        if name == "seconds":
            column = pc.if_else(table.column("_whole"), pa.scalar(None, pa.float64()), column)
        if column.null_count == len(column):
            continue
        texts = ["\x00" if value is None else str(value) for value in column.to_pylist()]
        digest.update(f"{name}\x1e".encode() + "\x1f".join(texts).encode() + b"\x1e")
    return digest.hexdigest()[:16]


def hash_content(file: BinaryIO, start: int, size: int) -> bytes:
    """Return the identity of `size` bytes of a file from `start` on."""
    digest = hashlib.blake2b(struct.pack("<q", size), digest_size=16)
    places = [0] if size <= WHOLE else [round(i * (size - BLOCK) / (BLOCKS - 1)) for i in range(BLOCKS)]
    for place in places:
        file.seek(start + place)
        digest.update(file.read(size if size <= WHOLE else BLOCK))
    return digest.digest()


def _identities(places: Sequence[tuple[Store, Place]]) -> list[bytes]:
    with ThreadPoolExecutor(_THREADS) as pool:
        spans = [store.span(place) for store, place in places]
        # In parts: to hand over one look costs more than the look. Several at once, for folders in a network.
        parts = [spans[i : i + _LOOKS] for i in range(0, len(spans), _LOOKS)]
        states = [state for part in pool.map(lambda part: [_state(span) for span in part], parts) for state in part]
        known = dict(_remembered([key for key in states if key is not None]))
        todo = [i for i, state in enumerate(states) if state is None or state not in known]
        out = [b"" if state is None else known.get(state, b"") for state in states]
        now = time.time_ns()
        results = pool.map(lambda i: _identity(*places[i], spans[i]), todo)
        shown = track(
            results, "reading recordings once", len(todo), console=Console(stderr=True), disable=len(todo) < _MANY
        )
        for i, identity in zip(todo, shown, strict=True):
            out[i] = identity
    fresh = {
        state: out[i]
        for i in todo
        if (state := states[i]) is not None and out[i] and state[-1] < now - _RECENT_NS and _state(spans[i]) == state
    }
    _remember(fresh)
    return out


# Path, first byte, size of the file, inode and device, newest of its times.
_State = tuple[str, int, int, str, int]


def _state(span: tuple[Path, int, int] | None) -> _State | None:
    """Return what changes with a file, or None for a recording that is no file or part of one."""
    if span is None:
        return None
    try:
        stat = span[0].stat()
    except OSError:
        return None
    times = f"{stat.st_dev}:{stat.st_ino}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"
    return str(span[0].absolute()), span[1], stat.st_size, times, max(stat.st_mtime_ns, stat.st_ctime_ns)


def _identity(store: Store, place: Place, span: tuple[Path, int, int] | None) -> bytes:
    try:
        if span is None:
            source = store.read(place)
            span = (source, 0, -1) if isinstance(source, Path) else None
            if span is None:
                return hash_content(io.BytesIO(source), 0, len(source))  # type: ignore[arg-type]
        path, start, size = span
        # Not a pipe or a device, which would be read for ever.
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return hash_content(file, start, os.fstat(file.fileno()).st_size if size < 0 else size)
    except (AudioError, OSError, pa.ArrowException, IndexError):
        # The last two are those of a data set that is damaged, or shorter than when its rows were listed.
        return b""


@contextmanager
def _index() -> Iterator[sqlite3.Connection | None]:
    """Open the index of identities; None where it can't be opened: then every recording is read again."""
    path = user_cache() / "content.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = sqlite3.connect(path, timeout=10)
    except (OSError, sqlite3.Error):
        yield None
        return
    with closing(opened):
        yield opened


def _remembered(states: Sequence[_State]) -> Iterator[tuple[_State, bytes]]:
    with _index() as index:
        if index is None or not states:
            return
        try:
            for state in states:
                row = index.execute("SELECT state, id FROM content WHERE path = ? AND start = ?", state[:2]).fetchone()
                if row is not None and row[0] == f"{state[2]}:{state[3]}":
                    yield state, row[1]
        except sqlite3.Error:  # no table yet, or a damaged file
            return


def _remember(found: dict[_State, bytes]) -> None:
    if not found:
        return
    with _index() as index:
        if index is None:
            return
        try:
            with index:
                index.execute(
                    "CREATE TABLE IF NOT EXISTS content (path TEXT, start INTEGER, state TEXT, id BLOB, "
                    "PRIMARY KEY (path, start)) WITHOUT ROWID"
                )
                rows = [(state[0], state[1], f"{state[2]}:{state[3]}", identity) for state, identity in found.items()]
                index.executemany("INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error:  # another process holds it, or it is damaged: the next look reads again
            return
