"""Unfinished work on a file or folder, kept beside it, so that a killed call continues."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from auricle.corpus.ledger import beside, read_made
from auricle.errors import Reason, StorageError
from auricle.storage import NPZ_ERRORS, write_atomic, write_json

_FACTS = "facts.json"
_SAID = {"facts", "model", "corpus", "bytes", "said"}


def unfinished_folder(out: Path) -> Path:
    """Return the folder that holds the unfinished work on a file."""
    return out.with_name(f".{out.name}.unfinished")


def packed(reasons: dict[str, Reason]) -> dict[str, tuple[str, str]]:
    """Return reasons as JSON-ready data: the text and the cause of each."""
    return {name: (reason, reason.cause) for name, reason in reasons.items()}


def unpacked(said: dict[str, Any]) -> dict[str, Reason]:
    """Return the reasons of `packed`'s data; earlier versions wrote the text alone."""
    return {name: Reason(one) if isinstance(one, str) else Reason(*one) for name, one in said.items()}


def bytes_of(out: Path) -> int:
    """Return the bytes of a file, or of all files in a folder without its list."""
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file() and path != beside(out)]
    return sum(path.stat().st_size for path in files)


def written_before(
    out: Path,
    facts: dict[str, Any],
    *,
    needs: Collection[str],
    held: Callable[[dict[str, Any]], str],
    verb: str,
    wanted: str,
) -> dict[str, Any] | None:
    """Return what a finished call said of the file that it wrote from these facts; None where there is no file.

    Args:
        out: the file, or folder.
        facts: all that decides its content.
        needs: what a list must say; those of earlier versions say less.
        held: from what a list says to what the file holds, for the message.
        verb: that writes such files, for the message.
        wanted: what may be there, for the message.

    Raises:
        StorageError: the file holds anything else.
    """
    if not out.exists():
        return None
    said = read_made(out).get("made")
    made: dict[str, Any] = said if isinstance(said, dict) else {}
    whole = made.keys() >= {*_SAID, *needs} and made["bytes"] == bytes_of(out)
    if whole and made["facts"] == facts:
        return made
    other = f"something that `auricle {verb}` did not write, that was changed since, or that an earlier version wrote"
    raise StorageError(
        f"{out} holds {held(made) if whole else other}; expected no file, or {wanted}. Choose another --out, or "
        "add --overwrite to replace the file (Python: overwrite=True)"
    )


class UnfinishedWork:
    """A folder `.NAME.unfinished` beside the file that is to be written.

    Attributes:
        folder: the folder.
        table: where the file is written, before it takes its place.

    Args:
        out: the file.
        facts: all that decides what is written.
        resume: continue what is there; else it is refused.
        mine: names of the parts that this call is to write, where other processes write others; None: all.

    Raises:
        StorageError: unfinished work is there and is not to be continued, is of other facts, or is damaged.
    """

    def __init__(self, out: Path, facts: dict[str, Any], *, resume: bool, mine: Collection[str] | None = None) -> None:
        self.folder = unfinished_folder(out)
        self.table = self.folder / out.name
        self._facts = json.loads(json.dumps(facts))
        files = self.files()
        if files and not resume and (mine is None or any(file.stem in mine for file in files)):
            raise StorageError(
                f"{self.folder} holds unfinished work on {out.name}; continue it with --resume (Python: resume=True), "
                "or delete that folder"
            )
        if files:
            self._compare()

    def _compare(self) -> None:
        found = self._read_facts()
        differing = [name for name in self._facts if found.get(name) != self._facts[name]]
        if differing:
            raise StorageError(
                f"{self.folder} holds unfinished work of another {' and '.join(differing)}; delete that folder, or "
                "choose another file to write"
            )

    def files(self) -> list[Path]:
        """Return the files of the parts that are there, in order."""
        return sorted(self.folder.glob("part-*.npz"))

    def keep(self, name: str, content: bytes) -> None:
        """Keep a part (see `part_bytes`).

        Args:
            name: of its file, `part-...` without the ending; parts are in the order of their names.
            content: of the file.

        Raises:
            StorageError: the disk is full, or the folder can't be written.
        """
        if not (self.folder / _FACTS).is_file():
            write_json(self.folder / _FACTS, self._facts)
        write_atomic(self.folder / f"{name}.npz", content)

    def remove(self) -> None:
        """Delete what was written here, once the file has its list; the folder stays where another's lock is in it."""
        # The last part first: what a kill leaves of them must not pass for all.
        for path in (*reversed(self.files()), self.folder / _FACTS):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _read_facts(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / _FACTS).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise StorageError(f"{self.folder / _FACTS} is missing or damaged; delete {self.folder}") from error


def part_bytes(arrays: dict[str, np.ndarray], said: Any) -> bytes:
    """Return a part as the content of its file: arrays, and further data, JSON-ready."""
    content, held = io.BytesIO(), dict[str, Any](arrays)
    np.savez(content, **held, skipped=np.frombuffer(json.dumps(said).encode(), np.uint8))
    return content.getvalue()


def read_part(file: Path) -> tuple[dict[str, np.ndarray], Any]:
    """Return the arrays and the further data of a part.

    Raises:
        StorageError: it is damaged.
    """
    try:
        with np.load(file, allow_pickle=False) as held, zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:
                raise ValueError("checksum differs")
            arrays = {name: held[name] for name in held.files}
            return arrays, json.loads(arrays.pop("skipped").tobytes())
    except NPZ_ERRORS as error:
        raise StorageError(f"{file} is damaged ({error}); delete {file.parent}") from error
