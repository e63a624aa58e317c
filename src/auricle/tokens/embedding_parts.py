"""The vectors of an unfinished embedding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auricle.errors import Reason, StorageError
from auricle.storage import NPZ_ERRORS
from auricle.tokens.unfinished import UnfinishedWork, packed, part_bytes, read_part, unpacked, written_before
from auricle.words import counted


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


def embedded_before(out: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a finished call said of the vectors that it wrote from these facts; None where there is no file.

    Raises:
        StorageError: the file holds anything else.
    """

    def held(made: dict[str, Any]) -> str:
        return f"{counted(made['clips'], 'vector')} of the corpus {made['corpus']} by the model {made['model']}"

    wanted = "the vectors of these clips by this model"
    return written_before(out, facts, needs=("clips", "width"), held=held, verb="embed", wanted=wanted)


class UnfinishedEmbedding(UnfinishedWork):
    """Unfinished work on a table of vectors; see the base.

    Attributes:
        parts: what is there, in the order of encoding.
    """

    def __init__(self, out: Path, facts: dict[str, Any], *, resume: bool) -> None:
        super().__init__(out, facts, resume=resume)
        self.parts = [_part(file) for file in self.files()]

    @property
    def position(self) -> int:
        """Clips that are encoded or skipped, in the order of encoding."""
        return self.parts[-1].position if self.parts else 0

    def commit(self, part: Part) -> None:
        """Keep a part.

        Raises:
            StorageError: the disk is full, or the folder can't be written.
        """
        arrays = {"rows": part.rows, "vectors": part.vectors, "position": np.asarray(part.position)}
        self.keep(f"part-{part.position:012d}", part_bytes(arrays, packed(part.skipped)))
        self.parts.append(part)


def _part(file: Path) -> Part:
    arrays, said = read_part(file)
    try:
        return Part(arrays["rows"], arrays["vectors"], unpacked(said), int(arrays["position"]))
    except NPZ_ERRORS as error:
        raise StorageError(f"{file} is damaged ({error}); delete {file.parent}") from error
