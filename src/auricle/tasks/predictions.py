"""What probes said of each test clip, kept so that any comparison can be made later."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.metrics.classification import validate_multi
from auricle.tokens.storage import write_atomic


@dataclass(frozen=True)
class Predictions:
    """Truth and scores of the test clips of all folds in a row.

    Letters in shapes: n test clips, C classes, S seeds.

    Attributes:
        kind: `single` or `multi`.
        classes: C names.
        clips: `(n,)` names that are equal for equal clips: file, and where it begins.
        fold: `(n,)` place of the fold that judged the clip.
        group: `(n,)` source of the clip, for resampling.
        truth: `(n, C)` bool.
        scores: `(S, n, C)` float32; higher is likelier.
        seeds: S seeds.
    """

    kind: Literal["single", "multi"]
    classes: tuple[str, ...]
    clips: NDArray[np.str_]
    fold: NDArray[np.int64]
    group: NDArray[np.str_]
    truth: NDArray[np.bool_]
    scores: NDArray[np.float32]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that the shapes belong together and that every score is finite.

        Raises:
            CorpusError: they do not.
            ConfigError: a score is not finite.
        """
        n, classes = self.truth.shape
        if self.scores.shape != (len(self.seeds), n, classes) or classes != len(self.classes) or n == 0:
            raise CorpusError(
                f"predictions of {n} clips, {classes} classes, {len(self.seeds)} seeds hold scores of shape "
                f"{self.scores.shape}; expected (seeds, clips, classes) and at least one clip"
            )
        if not len(self.clips) == len(self.fold) == len(self.group) == n:
            raise CorpusError(
                f"{len(self.clips)} names, {len(self.fold)} folds, {len(self.group)} sources for {n} clips"
            )
        for scores in self.scores:
            validate_multi(self.truth, scores)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """`(n,)` true class of single-label clips."""
        numbers: NDArray[np.int64] = self.truth.argmax(1).astype(np.int64)
        return numbers

    @property
    def said(self) -> NDArray[np.int64]:
        """`(S, n)` predicted class of single-label clips."""
        said: NDArray[np.int64] = self.scores.argmax(2).astype(np.int64)
        return said

    def order(self, clips: NDArray[np.str_]) -> Predictions:
        """Return the same clips in the order of these names.

        Raises:
            CorpusError: the names are not the same set of clips.
        """
        mine, theirs = np.argsort(self.clips, kind="stable"), np.argsort(clips, kind="stable")
        if len(clips) != len(self.clips) or not np.array_equal(self.clips[mine], clips[theirs]):
            shared = len(set(self.clips.tolist()) & set(clips.tolist()))
            raise CorpusError(
                f"two predictions speak of {len(self.clips)} and {len(clips)} clips, of which {shared} are the same; a "
                "comparison needs the same test clips: evaluate both on the same corpus and task"
            )
        rows = np.empty(len(clips), dtype=np.int64)
        rows[theirs] = mine
        return Predictions(
            self.kind, self.classes, self.clips[rows], self.fold[rows], self.group[rows], self.truth[rows],
            self.scores[:, rows], self.seeds,
        )  # fmt: skip


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions to a compressed `.npz`, atomically; it holds arrays and text only, nothing is pickled.

    Raises:
        StorageError: the disk is full, or the place can't be written.
    """
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        kind=np.array(predictions.kind),
        classes=np.array(predictions.classes, dtype=np.str_),
        clips=predictions.clips,
        fold=predictions.fold,
        group=predictions.group,
        truth=predictions.truth,
        scores=predictions.scores,
        seeds=np.array(predictions.seeds, dtype=np.int64),
    )
    write_atomic(path, packed.getvalue())


def load_predictions(path: Path) -> Predictions:
    """Read predictions.

    Raises:
        CorpusError: the file is missing, damaged, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            kind: Literal["single", "multi"] = "multi" if str(held["kind"]) == "multi" else "single"
            return Predictions(
                kind,
                tuple(held["classes"].tolist()),
                held["clips"],
                held["fold"],
                held["group"],
                held["truth"],
                held["scores"],
                tuple(held["seeds"].tolist()),
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise CorpusError(
            f"{path} can't be read as predictions ({error}); expected the .npz of `auricle probe`: run it again"
        ) from error
