"""Scan of every recording of a corpus: properties, corrupt files, duplicates."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auricle.audio.decode import FileInfo
from auricle.corpus.readers.listing import SCAN_TABLE, list_folder
from auricle.corpus.readers.table_file import write_table
from auricle.corpus.scan_report import ScanReport
from auricle.corpus.sources import open_corpus
from auricle.corpus.stores import Place
from auricle.corpus.table import Corpus
from auricle.corpus.windows import SILENCE_DB
from auricle.errors import AudioError, CorpusError

# Long recordings are read in pieces of this many seconds.
_PIECE = 120.0
# Above this share of samples at full scale a clip counts as clipped.
_CLIPPED_SHARE = 1e-3


@dataclass(frozen=True)
class Sound:
    """Properties of one decoded clip.

    Attributes:
        info: header of the recording.
        digest: of the decoded samples (mono, 16 bit, at the recording's own rate).
        peak: largest magnitude.
        level_db: root mean square in dB of full scale.
        clipped: share of samples at full scale.
    """

    info: FileInfo
    digest: str
    peak: float
    level_db: float
    clipped: float

    @property
    def silent(self) -> bool:
        """Whether all samples are below -80 dB of full scale."""
        return self.peak < 10 ** (SILENCE_DB / 20)


def scan(
    path: str | Path | Sequence[str | Path] | Corpus,
    *,
    out: Path | str | None = None,
    split: str | None = None,
    exclude: Sequence[str] = (),
    workers: int | None = None,
    write: bool = True,
    progress: bool = False,
) -> ScanReport:
    """Decode every clip of a corpus once and write its table.

    Corrupt recordings are skipped, counted and listed; they never abort the scan.

    Args:
        path: whatever `open_corpus` opens, or an open corpus.
        out: the table (`.parquet`), or a folder for it; by default `auricle-corpus.parquet` in the corpus's own folder,
            which `open_corpus` then reads as long as no file there changes.
        split: only this split.
        exclude: sub-folders to skip in a folder of corpora.
        workers: decoding threads; by default one per core, at most eight.
        write: write the table.
        progress: show a progress bar.

    Raises:
        CorpusError: there is no corpus, or none of its recordings can be used.
        StorageError: the table can't be written.

    Examples:
        >>> import auricle
        >>> report = auricle.scan("recordings")  # doctest: +SKIP
    """
    corpus = path if isinstance(path, Corpus) else open_corpus(path, split=split, exclude=exclude)
    sounds = _measure(corpus, workers or min(8, os.cpu_count() or 1), progress)
    broken = dict(corpus.problems)
    files = corpus.column("file")
    broken |= {files[i]: sound for i, sound in enumerate(sounds) if isinstance(sound, str)}
    good = [i for i, sound in enumerate(sounds) if not isinstance(sound, str)]
    if not good:
        file, reason = next(iter(broken.items()))
        raise CorpusError(
            f"no recording of {corpus.name} can be used: {len(broken)} are corrupt, such as {file}: {reason}"
        )
    seen = [sound for sound in sounds if not isinstance(sound, str)]
    usable = replace(_with_sounds(corpus.select(good), seen), problems=broken)
    names = usable.column("file")
    same: dict[str, list[str]] = {}
    for name, sound in zip(names, seen, strict=True):
        if not sound.silent:
            same.setdefault(sound.digest, []).append(name)
    notes = list(corpus.notes)
    table = None
    if write:
        whole = isinstance(path, str | Path) and split is None and not exclude
        table = _write(usable, Path(path) if whole and isinstance(path, str | Path) else None, out, notes)
    return ScanReport(
        usable,
        broken,
        tuple(tuple(group) for group in same.values() if len(group) > 1),
        tuple(n for n, s in zip(names, seen, strict=True) if s.silent),
        tuple(n for n, s in zip(names, seen, strict=True) if s.clipped > _CLIPPED_SHARE),
        table,
        tuple(notes),
    )


def _measure(corpus: Corpus, workers: int, progress: bool) -> list[Sound | str]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    found: list[Sound | str] = []
    with ThreadPoolExecutor(workers) as pool, Progress(*columns, disable=not progress) as bar:
        task = bar.add_task(f"scanning {corpus.name}", total=len(corpus))
        for sound in pool.map(lambda i: _sound(corpus, i), range(len(corpus))):
            found.append(sound)
            bar.advance(task)
    return found


def _sound(corpus: Corpus, index: int) -> Sound | str:
    """Decode one clip; return the reason if that is not possible."""
    row = corpus.table.slice(index, 1).to_pylist()[0]
    store = corpus.stores[row["_store"]]
    try:
        info = store.probe(Place(row["_key"], row["_offset"], row["_size"]))
        length = info.seconds if row["_whole"] else row["seconds"]
        digest = hashlib.blake2b(digest_size=12)
        count, square, peak, full = 0, 0.0, 0.0, 0
        # Short recordings are read at once: in formats that can't seek exactly only a whole read is exact.
        pieces = [(0.0, None)] if length <= 2 * _PIECE else _pieces(length)
        for start, seconds in pieces:
            wave = corpus.audio(index, info.rate, start=start, seconds=seconds)
            digest.update(np.rint(np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes())
            magnitude = np.abs(wave)
            count += len(wave)
            square += float(np.square(wave, dtype=np.float64).sum())
            peak = max(peak, float(magnitude.max(initial=0.0)))
            full += int((magnitude > 0.9999).sum())
    except AudioError as error:
        return error.reason
    level = 10 * np.log10(max(square / max(count, 1), 1e-20))
    return Sound(info, digest.hexdigest(), peak, float(level), full / max(count, 1))


def _pieces(length: float) -> list[tuple[float, float | None]]:
    starts = np.arange(0.0, length, _PIECE)
    return [(float(start), _PIECE if start + _PIECE < length else None) for start in starts]


def _with_sounds(corpus: Corpus, sounds: Sequence[Sound]) -> Corpus:
    seconds = [
        sound.info.seconds if whole else known
        for sound, whole, known in zip(sounds, corpus.column("_whole"), corpus.column("seconds"), strict=True)
    ]
    columns: dict[str, list[Any]] = {
        "seconds": seconds,
        "scan_rate": [sound.info.rate for sound in sounds],
        "scan_channels": [sound.info.channels for sound in sounds],
        "scan_format": [sound.info.format for sound in sounds],
        "scan_peak": [sound.peak for sound in sounds],
        "scan_level_db": [sound.level_db for sound in sounds],
        "scan_silent": [sound.silent for sound in sounds],
        "scan_clipped": [sound.clipped for sound in sounds],
        "scan_digest": [sound.digest for sound in sounds],
    }
    for name, values in columns.items():
        corpus = corpus.with_column(name, values)
    return corpus


def _write(corpus: Corpus, path: Path | None, out: Path | str | None, notes: list[str]) -> Path | None:
    folder = path if path is not None and path.is_dir() else None
    if out is not None:
        target = Path(out) if Path(out).suffix == ".parquet" else Path(out) / SCAN_TABLE
        if folder is None or target.resolve() != folder.resolve() / SCAN_TABLE:
            return write_table(corpus, target)
    elif folder is None:
        notes.append("no table was written: only a whole folder has a default table; set its path (out)")
        return None
    if not os.access(folder, os.W_OK):
        notes.append(f"no table was written: {folder} is not writable; set another path (out)")
        return None
    # With this digest the table replaces the folder's listing as long as nothing in it changes.
    return write_table(corpus, folder / SCAN_TABLE, listing=list_folder(folder).digest())
