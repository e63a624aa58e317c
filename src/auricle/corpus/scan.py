"""Scan of every recording of a corpus: properties, corrupt files, duplicates."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auricle.audio.decode import FileInfo
from auricle.corpus.columns import reading_of
from auricle.corpus.ledger import beside, noted
from auricle.corpus.losses import silence, with_losses
from auricle.corpus.readers.listing import SCAN_TABLE, list_folder
from auricle.corpus.readers.table_file import write_table
from auricle.corpus.reading import band_notes, read_as
from auricle.corpus.scan_report import ScanReport
from auricle.corpus.sources import open_corpus
from auricle.corpus.stores import Place
from auricle.corpus.table import Corpus
from auricle.errors import AudioError, ConfigError, CorpusError, Reason

# Long recordings are read in pieces of this many seconds.
_PIECE = 120.0
# Above this share of clipped samples a clip counts as clipped. Clipped samples are runs of at least some at one level,
# not below this one: float files may exceed full scale without being clipped.
_CLIPPED_SHARE = 1e-3
_CLIPPED_RUN = 3
_CLIPPED_LEVEL = 0.99


@dataclass(frozen=True)
class Sound:
    """Properties of one decoded clip.

    Attributes:
        info: header of the recording.
        digest: of the decoded samples (mono, 16 bit, at the recording's own rate).
        peak: largest magnitude.
        spread: half the range between the lowest and the highest sample.
        level_db: root mean square in dB of full scale.
        clipped: share of samples in runs at one level, the highest or the lowest, from about full scale on.
    """

    info: FileInfo
    digest: str
    peak: float
    spread: float
    level_db: float
    clipped: float

    @property
    def silent(self) -> bool:
        """Whether all samples are constant to within -80 dB of full scale."""
        return silence(self.spread) is not None


def scan(
    path: str | Path | Sequence[str | Path] | Corpus,
    *,
    out: Path | str | None = None,
    split: str | None = None,
    exclude: Sequence[str] = (),
    workers: int | None = None,
    write: bool = True,
    progress: bool = False,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    rate: int = 16000,
) -> ScanReport:
    """Decode every clip of a corpus once and write its table.

    Corrupt recordings are skipped, counted and listed; they never abort the scan.

    Args:
        path: whatever `open_corpus` opens, or an open corpus.
        out: the table (`.parquet`), or a folder for it: one that is there, or a name without an ending; by default
            `auricle-corpus.parquet` in the corpus's own folder, which `open_corpus` then reads as long as no file there
            changes.
        split: only this split.
        exclude: sub-folders to skip in a folder of corpora.
        workers: decoding threads; by default one per core, at most eight.
        write: write the table.
        progress: show a progress bar.
        channel: channel that is read, see `read_as`.
        time_expansion: how many times slower recordings are played, see `read_as`.
        rate: sample rate in Hz of the encoders that the corpus is for: rates far from it are noted.

    Raises:
        ConfigError: `out` has another ending than `.parquet`.
        CorpusError: there is no corpus, or none of its recordings can be used.
        StorageError: the table can't be written.

    Examples:
        >>> import auricle
        >>> report = auricle.scan("recordings")  # doctest: +SKIP
    """
    target = None if out is None or not write else _target(Path(out))
    corpus = path if isinstance(path, Corpus) else open_corpus(path, split=split, exclude=exclude)
    corpus = read_as(corpus, channel, time_expansion)
    sounds = _measure(corpus, workers or min(8, os.cpu_count() or 1), progress)
    files = corpus.column("file")
    good = [i for i, sound in enumerate(sounds) if not isinstance(sound, Reason)]
    broken = {i: sound for i, sound in enumerate(sounds) if isinstance(sound, Reason)}
    silent = {i: silence(sound.spread) for i, sound in enumerate(sounds) if not isinstance(sound, Reason)}
    ledger = with_losses(corpus, broken, silent)
    if not good:
        file, reason = next(iter(ledger.reasons().items()))
        raise CorpusError(
            f"no recording of {corpus.name} can be used: {len(set(files))} are corrupt, such as {file}: {reason}"
        )
    seen = [sound for sound in sounds if not isinstance(sound, Reason)]
    usable = _with_sounds(corpus.select(good), seen)
    names = usable.column("file")
    # Opening has read the headers; decoding finds more, such as joined files.
    found = {name: sound.info.notes for name, sound in zip(names, seen, strict=True)}
    usable = replace(usable, ledger=ledger.drop(*(entry for pair in found.items() for entry in noted(*pair))))
    same: dict[str, list[str]] = {}
    for name, sound in zip(names, seen, strict=True):
        if not sound.silent:
            same.setdefault(sound.digest, []).append(name)
    notes = [*corpus.notes, *band_notes(usable, rate)]
    table = None
    if write:
        whole = isinstance(path, str | Path) and split is None and not exclude
        table = _write(usable, Path(path) if whole and isinstance(path, str | Path) else None, target, notes)
    if table is not None:
        usable.ledger.write(beside(table))
    return ScanReport(
        usable,
        tuple(tuple(group) for group in same.values() if len(group) > 1),
        tuple(n for n, s in zip(names, seen, strict=True) if s.silent),
        tuple(n for n, s in zip(names, seen, strict=True) if s.clipped > _CLIPPED_SHARE),
        table,
        tuple(notes),
    )


def _measure(corpus: Corpus, workers: int, progress: bool) -> list[Sound | Reason]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    found: list[Sound | Reason] = []
    with ThreadPoolExecutor(workers) as pool, Progress(*columns, disable=not progress) as bar:
        task = bar.add_task(f"scanning {corpus.name}", total=len(corpus))
        for sound in pool.map(lambda i: _sound(corpus, i), range(len(corpus))):
            found.append(sound)
            bar.advance(task)
    return found


def _sound(corpus: Corpus, index: int) -> Sound | Reason:
    """Decode one clip; return the reason if that is not possible."""
    row = corpus.table.slice(index, 1).to_pylist()[0]
    store = corpus.stores[row["_store"]]
    try:
        info = store.probe(Place(row["_key"], row["_offset"], row["_size"]), thorough=True)
        length = info.seconds if row["_whole"] else row["seconds"]
        digest = hashlib.blake2b(digest_size=12)
        count, square, full = 0, 0.0, 0
        lowest, highest = math.inf, -math.inf
        # At the recording's own speed, whatever an encoder is played.
        rate = info.rate / reading_of(row)[1]
        # Short recordings are read at once: in formats that can't seek exactly only a whole read is exact.
        pieces = [(0.0, None)] if length <= 2 * _PIECE else _pieces(length)
        for start, seconds in pieces:
            wave = corpus.audio(index, rate, start=start, seconds=seconds)
            digest.update(np.rint(np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes())
            count += len(wave)
            square += float(np.square(wave, dtype=np.float64).sum())
            lowest, highest = min(lowest, float(wave.min())), max(highest, float(wave.max()))
            full += _clipped(wave) + _clipped(-wave)
    except AudioError as error:
        return error.reason
    level = 10 * np.log10(max(square / max(count, 1), 1e-20))
    peak, spread = max(highest, -lowest), (highest - lowest) / 2
    return Sound(info, digest.hexdigest(), peak, spread, float(level), full / max(count, 1))


def _clipped(wave: np.ndarray) -> int:
    """Count the samples in runs at the highest level."""
    level = float(wave.max())
    if level < _CLIPPED_LEVEL:
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wave > level * (1 - 1e-4), [False]])))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= _CLIPPED_RUN].sum())


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


def _target(out: Path) -> Path:
    """Return the path of the table, before any work is done."""
    if out.is_dir() or not out.suffix:
        return out / SCAN_TABLE
    if out.suffix.lower() != ".parquet":
        raise ConfigError(
            f"{out} ends in {out.suffix!r}, and the table of a scan is Parquet; expected a file that ends in .parquet, "
            f"or a folder; set --out {out.with_suffix('.parquet')}"
        )
    return out


def _write(corpus: Corpus, path: Path | None, target: Path | None, notes: list[str]) -> Path | None:
    folder = path if path is not None and path.is_dir() else None
    if target is not None:
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
