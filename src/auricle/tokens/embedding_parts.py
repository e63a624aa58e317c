"""The vectors of an unfinished embedding, kept beside its file, so that a killed run continues."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auricle.corpus.ledger import read_made
from auricle.errors import Reason, StorageError
from auricle.storage import NPZ_ERRORS, write_atomic, write_json
from auricle.words import counted

_FACTS = "facts.json"
_SAID = {"facts", "model", "corpus", "bytes", "clips", "width", "said"}


@dataclass
class Part:
    """Clips that were encoded between two commits.

    Attributes:
        rows: of the corpus, `(n,)`.
        vectors: `(n, D)` float32.
        skipped: clips without a vector: name -> reason; of clips with one, a remark.
        position: clips encoded or skipped so far, in the order of encoding.
    """

    rows: np.ndarray
    vectors: np.ndarray
    skipped: dict[str, Reason]
    position: int


def unfinished_folder(out: Path) -> Path:
    """Return the folder that holds the unfinished work on a file."""
    return out.with_name(f".{out.name}.unfinished")


def packed(reasons: dict[str, Reason]) -> dict[str, tuple[str, str]]:
    """Return reasons as JSON-ready data: the text and the cause of each."""
    return {name: (reason, reason.cause) for name, reason in reasons.items()}


def unpacked(said: dict[str, Any]) -> dict[str, Reason]:
    """Return the reasons of `packed`'s data; earlier versions wrote the text alone."""
    return {name: Reason(one) if isinstance(one, str) else Reason(*one) for name, one in said.items()}


def written_before(out: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a finished call said of the file that it wrote from these facts; None where there is no file.

    Raises:
        StorageError: the file holds anything else.
    """
    if not out.exists():
        return None
    said = read_made(out).get("made")
    made: dict[str, Any] = said if isinstance(said, dict) else {}
    # Lists of earlier versions hold less.
    whole = made.keys() >= _SAID and made["bytes"] == out.stat().st_size
    if whole and made["facts"] == facts:
        return made
    held = (
        f"{counted(made['clips'], 'vector')} of the corpus {made['corpus']} by the model {made['model']}"
        if whole
        else "something that `auricle embed` did not write, that was changed since, or that an earlier version wrote"
    )
    raise StorageError(
        f"{out} holds {held}; expected no file, or the vectors of these clips by this model. Choose another --out, or "
        "add --overwrite to replace the file (Python: overwrite=True)"
    )


class UnfinishedEmbedding:
    """A folder `.NAME.unfinished` beside the file that is to be written.

    Attributes:
        table: where the file is written, before it takes its place.

    Args:
        out: the file.
        facts: all that decides the vectors and their order.
        resume: continue what is there; else it is refused.

    Raises:
        StorageError: unfinished work is there and is not to be continued, is of other facts, or is damaged.
    """

    def __init__(self, out: Path, facts: dict[str, Any], *, resume: bool) -> None:
        self.folder = unfinished_folder(out)
        self.table = self.folder / out.name
        self._facts = json.loads(json.dumps(facts))
        self.parts: list[Part] = []
        files = sorted(self.folder.glob("part-*.npz"))
        if not files:
            return
        if not resume:
            raise StorageError(
                f"{self.folder} holds unfinished work on {out.name}; continue it with --resume (Python: resume=True), "
                "or delete that folder"
            )
        found = self._read_facts()
        differing = [name for name in self._facts if found.get(name) != self._facts[name]]
        if differing:
            raise StorageError(
                f"{self.folder} holds unfinished work of another {' and '.join(differing)}; delete that folder, or "
                "choose another file to write"
            )
        self.parts = [_read(file) for file in files]

    @property
    def position(self) -> int:
        """Clips that are encoded or skipped, in the order of encoding."""
        return self.parts[-1].position if self.parts else 0

    def commit(self, part: Part) -> None:
        """Keep a part.

        Raises:
            StorageError: the disk is full, or the folder can't be written.
        """
        if not self.parts:
            write_json(self.folder / _FACTS, self._facts)
        content = io.BytesIO()
        skipped = np.frombuffer(json.dumps(packed(part.skipped)).encode(), np.uint8)
        np.savez(content, rows=part.rows, vectors=part.vectors, skipped=skipped, position=part.position)
        write_atomic(self.folder / f"part-{part.position:012d}.npz", content.getvalue())
        self.parts.append(part)

    def remove(self) -> None:
        """Delete what was written here, once the file has its list; the folder stays where another's lock is in it."""
        # The last part first: what a kill leaves of them must not pass for all.
        for path in (*sorted(self.folder.glob("part-*.npz"), reverse=True), self.folder / _FACTS):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _read_facts(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / _FACTS).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise StorageError(f"{self.folder / _FACTS} is missing or damaged; delete {self.folder}") from error


def _read(file: Path) -> Part:
    try:
        with np.load(file, allow_pickle=False) as held, zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:
                raise ValueError("checksum differs")
            skipped = unpacked(json.loads(held["skipped"].tobytes()))
            return Part(held["rows"], held["vectors"], skipped, int(held["position"]))
    except NPZ_ERRORS as error:
        raise StorageError(f"{file} is damaged ({error}); delete {file.parent}") from error
