"""Finds the recordings that tables name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from auricle.audio.identify import AUDIO_SUFFIXES

_ELSEWHERE = re.compile(r"(/|[A-Za-z]:/|//)")


class Locator:
    """Finds the files of a table, relative to the corpus's root or to the table's own folder.

    Names that differ only in the encoding of accents (decomposed on macOS) are the same. Where nothing has the name
    itself, a recording is found whose name differs in upper and lower case or by its missing ending, or, for a path of
    another computer, by the end of the path: if there is exactly one. `changed` counts these.
    """

    def __init__(self, root: Path, table_folder: Path, known: Mapping[str, int] | None = None) -> None:
        """Search below `root` and `table_folder`; files of the root that are `known` with their bytes come first."""
        self.root = root
        self._known = (known or {}) if table_folder == root else {}
        self.bases = [table_folder] if table_folder == root else [table_folder, root]
        self.changed: Counter[str] = Counter()
        self._folders: dict[Path, dict[str, list[str]]] = {}
        self._found: dict[str, tuple[str, int] | None] = {}
        self._inside = os.path.normpath(root.absolute())

    def find(self, name: str) -> tuple[str, int] | None:
        """Return a file's name below the root (absolute if elsewhere) and its bytes, or None."""
        size = self._known.get(name)
        if size is not None:
            return name, size
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def why_not(self, name: str) -> str:
        """Return the reason why a name was not found, with the names that are nearly the same."""
        tidy = name.replace("\\", "/")
        stem = PurePosixPath(tidy).with_suffix("").as_posix()
        near = sorted({found for base in self.bases for found in self._alike(base / tidy, base / stem)})
        if not near:
            return "there is no such file"
        several = "which of them is meant is not clear; " if len(near) > 1 else ""
        return f"there is no such file, but {', '.join(near[:3])}; {several}correct the name"

    def _find(self, name: str) -> tuple[str, int] | None:
        # Tables made on Windows have backslashes.
        spelled = [name, name.replace("\\", "/")] if "\\" in name else [name]
        for path in (base / text for text in spelled for base in self.bases):
            found = self._file(path)
            if found is not None:
                return found
        tidy = spelled[-1]
        for path in (base / tidy for base in self.bases):
            for alike, how in self._near(path):
                found = self._file(alike)
                if found is not None:
                    self.changed[how] += 1
                    return found
        if _ELSEWHERE.match(tidy):
            parts = [part for part in tidy.split("/") if part and part not in (".", "..")]
            for begin in range(1, len(parts)):
                ends = {f for base in self.bases if (f := self._file(base / "/".join(parts[begin:]))) is not None}
                if len(ends) == 1:
                    self.changed["by the end of the path of another computer"] += 1
                    return ends.pop()
        return None

    def name(self, path: Path) -> str:
        """Return a path as in the corpus's column `file`."""
        full = os.path.normpath(path.absolute())
        inside = full.startswith(self._inside.rstrip(os.sep) + os.sep)
        return (full[len(self._inside.rstrip(os.sep)) + 1 :] if inside else full).replace(os.sep, "/")

    def _file(self, path: Path) -> tuple[str, int] | None:
        try:
            if path.is_file():
                return self.name(path), path.stat().st_size
            wanted = unicodedata.normalize("NFC", path.name)
            for other in self._names(path.parent).get(wanted.casefold(), ()):
                if other != path.name and unicodedata.normalize("NFC", other) == wanted:
                    return self._file(path.parent / other)
        except (OSError, ValueError):  # a name that is too long, or has a null in it
            pass
        return None

    def _near(self, path: Path) -> list[tuple[Path, str]]:
        """Return the only file that differs in case, or the only recording of that name with an ending."""
        wanted = unicodedata.normalize("NFC", path.name).casefold()
        names = self._names(path.parent)
        same = names.get(wanted, [])
        if same:
            return [(path.parent / same[0], "by a name in another case")] if len(same) == 1 else []
        if path.suffix.lower() in AUDIO_SUFFIXES:
            return []
        ended = [other for suffix in AUDIO_SUFFIXES for other in names.get(wanted + suffix, ())]
        return [(path.parent / ended[0], "by a name without its ending")] if len(ended) == 1 else []

    def _alike(self, path: Path, stem: Path) -> list[str]:
        names = self._names(path.parent)
        wanted = (unicodedata.normalize("NFC", p.name).casefold() for p in (path, stem))
        return [n for w in wanted for suffix in ("", *sorted(AUDIO_SUFFIXES)) for n in names.get(w + suffix, ())]

    def _names(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._folders:
            found: dict[str, list[str]] = {}
            try:
                for name in sorted(entry.name for entry in os.scandir(folder)):
                    found.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
            except (OSError, ValueError):
                found = {}
            self._folders[folder] = found
        return self._folders[folder]
