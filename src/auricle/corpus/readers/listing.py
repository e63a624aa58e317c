"""Listings of folders: audio files, shards and label tables, without hidden files."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from auricle.audio.identify import AUDIO_SUFFIXES
from auricle.corpus.ledger import Entry, Ledger
from auricle.errors import CorpusError

AUDIO_NAMES = ", ".join(sorted(AUDIO_SUFFIXES))
LABEL_TABLES = ("metadata.csv", "labels.csv", "metadata.jsonl")
EVENT_TABLES = ("events.csv", "events.tsv")
SCAN_TABLE = "auricle-corpus.parquet"

# Folders of deleted files and thumbnails (Windows, Synology, QNAP, macOS), and files of the system.
_BINS = frozenset(
    (
        "$recycle.bin",
        "#recycle",
        "@recycle",
        "@eadir",
        "__macosx",
        "system volume information",
        "lost+found",
        "recycler",
    )
)
_SYSTEM = frozenset(("desktop.ini", "thumbs.db"))

_T = TypeVar("_T")


@dataclass
class Listing:
    """Files below a folder, by their path relative to it (forward slashes), sorted.

    Attributes:
        root: the folder.
        audio: audio file -> bytes.
        tars: tar shards -> bytes.
        parquets: Parquet files -> bytes (without tables written by a scan).
        tables: label tables -> bytes.
        others: other files -> bytes.
        problems: files and folders that could not be read -> the reason.
        ignored: what kind of hidden files or folder of deleted files was passed over -> number of files.
        used: tables, shards and label files that were read.
        times: each of these files -> nanosecond of its last change.
    """

    root: Path
    audio: dict[str, int] = field(default_factory=dict)
    tars: dict[str, int] = field(default_factory=dict)
    parquets: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    used: set[str] = field(default_factory=set)
    times: dict[str, int] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a digest of what a corpus of this folder is made of.

        Names, sizes and times of all files (some tables and label files have the names of other tools), the contents
        of label tables, and size and time of those beside the folder, which are read where it has none.
        """
        total = hashlib.sha256()
        for group in (self.audio, self.tars, self.parquets, self.others):
            for name, size in group.items():
                total.update(f"{name}\x00{size}\x00{self.times[name]}\x00".encode())
        for name in self.tables:
            total.update(name.encode() + b"\x00" + (self.root / name).read_bytes())
        if not set(LABEL_TABLES) & set(self.tables):
            for name in (*LABEL_TABLES, *EVENT_TABLES):
                beside = self.root.resolve().parent / name
                if beside.is_file():
                    found = beside.stat()
                    total.update(f"../{name}\x00{found.st_size}\x00{found.st_mtime_ns}\x00".encode())
        return total.hexdigest()[:32]

    def below(self, folder: str) -> Listing:
        """Return the part of the listing inside a sub-folder."""
        start = f"{folder}/"

        def inside(group: dict[str, _T]) -> dict[str, _T]:
            return {name.removeprefix(start): value for name, value in group.items() if name.startswith(start)}

        return Listing(
            self.root / folder,
            inside(self.audio),
            inside(self.tars),
            inside(self.parquets),
            inside(self.tables),
            inside(self.others),
            inside(self.problems),
            times=inside(self.times),
        )

    def account(self) -> Ledger:
        """Return the ledger of files that are no recordings, and of those that could not be read."""
        files = {**self.tars, **self.parquets, **self.tables, **self.others}
        left = Counter(PurePosixPath(name).suffix.lower() or "no ending" for name in files if name not in self.used)
        why = "such files are not read, or not where recordings or another table are"
        skipped = [Entry("file", kind, why, "not read", count) for kind, count in left.most_common()]
        skipped += [
            Entry("file", where, "hidden files and folders of deleted files are passed over", "ignored", count)
            for where, count in self.ignored.items()
        ]
        broken = [Entry("recording", name, reason, "unreadable") for name, reason in self.problems.items()]
        ledger = Ledger().add("file", used=len(self.used & files.keys()), skipped=skipped)
        return ledger.add("recording", skipped=broken)


def list_folder(root: Path) -> Listing:
    """Walk a folder, following links but never in circles.

    Raises:
        CorpusError: the folder is missing or can't be read.
    """
    listing = Listing(root)
    try:
        next(os.scandir(root), None)
    except OSError as error:
        raise CorpusError(f"the folder {root} can't be read ({error.strerror}); check its permissions") from error
    seen: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        listing.problems[_name(Path(error.filename), root)] = f"this folder can't be read: {error.strerror}"

    for here, folders, files in os.walk(root, followlinks=True, onerror=unreadable):
        found = Path(here).stat()
        if (found.st_dev, found.st_ino) in seen:
            folders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        for folder in [folder for folder in folders if folder.lower() in _BINS]:
            where = _name(Path(here) / folder, root)
            listing.ignored[f"{where}/"] += sum(len(below) for _, _, below in os.walk(Path(here) / folder))
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f.lower() not in _BINS)
        for file in sorted(files):
            if file.startswith(".") or file.lower() in _SYSTEM:
                listing.ignored["hidden files"] += 1
            else:
                _add(listing, Path(here) / file)
    for group in (listing.audio, listing.tars, listing.parquets, listing.tables, listing.others):
        items = sorted(group.items())
        group.clear()
        group.update(items)
    return listing


def _add(listing: Listing, path: Path) -> None:
    name = _name(path, listing.root)
    suffix = path.suffix.lower()
    groups = {".tar": listing.tars, ".parquet": listing.parquets}
    if path.name in (*LABEL_TABLES, *EVENT_TABLES):
        group = listing.tables
    elif suffix in AUDIO_SUFFIXES:
        group = listing.audio
    elif suffix in groups and path.name != SCAN_TABLE:
        group = groups[suffix]
    elif path.name.startswith(PurePosixPath(SCAN_TABLE).stem):
        return  # written by a scan
    else:
        group = listing.others
    try:
        name.encode()
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            # Reading a pipe would wait for a writer.
            listing.problems[name] = "it is a pipe, socket or device, no file"
            return
        group[name] = found.st_size
        listing.times[name] = found.st_mtime_ns
    except UnicodeEncodeError:
        printable = name.encode("utf-8", "backslashreplace").decode()
        listing.problems[printable] = "the name is not valid UTF-8; rename the file"
    except OSError as error:
        listing.problems[name] = f"can't be read: {error.strerror}"


def _name(path: Path, root: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")
