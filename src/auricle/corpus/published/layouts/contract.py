"""The contract of publishers' layouts: marks that identify a folder, and a reader of its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Content:
    """The content of a publisher's tables.

    Attributes:
        columns: of the corpus; `file` is relative to the data set's folder. Clips with a `start` are ranges.
        events: columns `file`, `onset`, `offset`, `label`, or None.
        notes: remarks for users of the data.
        left: recordings that are not among the columns: cause in one or two words -> number.
    """

    columns: Mapping[str, Sequence[Any]]
    events: Mapping[str, Sequence[Any]] | None = None
    notes: tuple[str, ...] = ()
    left: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A publisher's layout of a data set.

    Attributes:
        name: as in `layout:NAME:FOLDER`.
        title: title of the data set.
        marks: required files or folders (or patterns) below the data set's folder.
        read: reader of the tables of a folder with all marks.
        known_by_marks: the marks are specific enough to recognise the data set in any folder.
        hint: origin of a mark that is often missing.
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
