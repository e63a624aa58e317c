"""Listings of folders: audio files, shards and label tables, without hidden files."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from auricle.errors import CorpusError

# Those from .m4a on need the extra `av`; without it they are listed with the reason.
AUDIO_SUFFIXES = frozenset(
    (
        *(".wav", ".wave", ".bwf", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mp1", ".mpga", ".aif", ".aiff"),
        *(".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".bw64", ".sph", ".nist", ".voc"),
        *(".m4a", ".m4b", ".aac", ".adts", ".wma", ".mp4", ".3gp", ".3gpp", ".3g2", ".amr", ".awb", ".webm", ".weba"),
        *(".mka", ".wv", ".ape", ".tta", ".mpc", ".ac3", ".eac3", ".dts", ".spx", ".ra", ".dsf", ".dff"),
    )
)
AUDIO_NAMES = ", ".join(sorted(AUDIO_SUFFIXES))
LABEL_TABLES = ("metadata.csv", "labels.csv", "metadata.jsonl")
EVENT_TABLE = "events.csv"
SCAN_TABLE = "auricle-corpus.parquet"

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
        others: number of other files by suffix.
        problems: files and folders that could not be read -> the reason.
    """

    root: Path
    audio: dict[str, int] = field(default_factory=dict)
    tars: dict[str, int] = field(default_factory=dict)
    parquets: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a digest of all names and sizes, and of the label tables' contents."""
        total = hashlib.sha256()
        for group in (self.audio, self.tars, self.parquets):
            for name, size in group.items():
                total.update(f"{name}\x00{size}\x00".encode())
        for name in self.tables:
            total.update(name.encode() + b"\x00" + (self.root / name).read_bytes())
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
            problems=inside(self.problems),
        )


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
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for file in sorted(files):
            if not file.startswith("."):
                _add(listing, Path(here) / file)
    for group in (listing.audio, listing.tars, listing.parquets, listing.tables):
        items = sorted(group.items())
        group.clear()
        group.update(items)
    return listing


def _add(listing: Listing, path: Path) -> None:
    name = _name(path, listing.root)
    suffix = path.suffix.lower()
    groups = {".tar": listing.tars, ".parquet": listing.parquets}
    if path.name in LABEL_TABLES or path.name == EVENT_TABLE:
        group = listing.tables
    elif suffix in AUDIO_SUFFIXES:
        group = listing.audio
    elif suffix in groups and path.name != SCAN_TABLE:
        group = groups[suffix]
    else:
        listing.others[suffix or "no suffix"] += 1
        return
    try:
        name.encode()
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            # Reading a pipe would wait for a writer.
            listing.problems[name] = "it is a pipe, socket or device, no file"
            return
        group[name] = found.st_size
    except UnicodeEncodeError:
        printable = name.encode("utf-8", "backslashreplace").decode()
        listing.problems[printable] = "the name is not valid UTF-8; rename the file"
    except OSError as error:
        listing.problems[name] = f"can't be read: {error.strerror}"


def _name(path: Path, root: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")
