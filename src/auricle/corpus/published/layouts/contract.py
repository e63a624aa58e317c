"""What a publisher's layout is: the marks by which a folder of it is known, and a reader of its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Content:
    """What a publisher's tables say.

    Attributes:
        columns: of the corpus; `file` is relative to the data set's folder. Clips with a `start` are ranges.
        events: columns `file`, `onset`, `offset`, `label`, or None.
        notes: what a user of the data should know.
        told: whether the reader has itself accounted for files that are missing (data sets of millions of clips of
            which nobody has all); else each one is told in the corpus's `problems`.
    """

    columns: Mapping[str, Sequence[Any]]
    events: Mapping[str, Sequence[Any]] | None = None
    notes: tuple[str, ...] = ()
    told: bool = False


@dataclass(frozen=True)
class Layout:
    """How a publisher ships a data set.

    Attributes:
        name: as in `layout:NAME:FOLDER`.
        title: what it is called.
        marks: files or folders (patterns too) below the data set's folder that must be there.
        read: reads the tables; the folder has all the marks.
        known_by_marks: the marks are telling enough to recognise the data set in a folder that nobody has named.
        hint: where a mark that is often missing comes from.
    """

    name: str
    title: str
    marks: tuple[str, ...]
    read: Callable[[Path], Content]
    known_by_marks: bool = True
    hint: str = ""

    def missing(self, folder: Path) -> list[str]:
        """Return the marks that a folder lacks."""
        return [mark for mark in self.marks if not _there(folder, mark)]

    def fits(self, folder: Path) -> bool:
        """Return whether a folder has all marks."""
        return all(_there(folder, mark) for mark in self.marks)


def _there(folder: Path, mark: str) -> bool:
    if any(sign in mark for sign in "*?["):
        return next(folder.glob(mark), None) is not None
    return (folder / mark).exists()
