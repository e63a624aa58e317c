"""What an encoder's reader said of each test unit, whatever the type of task: clips, trials, queries, utterances.

Every type of task keeps its answers as `TaskPredictions`: names of the units, their groups, and enough to compute each
metric under any weighting of the units. So intervals, paired comparisons and records need one piece of code each.

Letters in shapes: n units, S seeds, R weightings.
"""

from __future__ import annotations

import io
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.storage import write_atomic

_TYPE = "type_name"


class TaskPredictions(ABC):
    """Answers and truth of the test units of all folds in a row.

    Attributes:
        type_name: of the type of task (class attribute); each has one subclass.
        seeds: S seeds of what was trained.
    """

    type_name: ClassVar[str]
    seeds: tuple[int, ...]
    _known: ClassVar[dict[str, type[TaskPredictions]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register the subclass under its type's name, which is how files are read back."""
        super().__init_subclass__(**kwargs)
        TaskPredictions._known[cls.type_name] = cls

    @property
    @abstractmethod
    def units(self) -> NDArray[np.str_]:
        """`(n,)` unique names that are equal for equal units."""

    @property
    @abstractmethod
    def groups(self) -> NDArray[np.str_]:
        """`(n,)` what each unit belongs to: units of one group are no independent evidence, and are drawn together."""

    @property
    @abstractmethod
    def folds(self) -> NDArray[np.int64]:
        """`(n,)` place of the fold that judged each unit."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics (see `auricle.metrics.catalogue`); the first is the usual headline."""

    @property
    def title(self) -> str:
        """What the units are, in words for messages."""
        return f"the {self.type_name} of this task"

    @abstractmethod
    def measure(self, metric: str, weights: np.ndarray) -> NDArray[np.float64]:
        """Return `(S, R)`: the metric of each seed if unit i counted `weights[r, i]` times; NaN where undefined."""

    @abstractmethod
    def reorder(self, units: NDArray[np.str_]) -> Self:
        """Return the same units in the order of these names.

        Raises:
            CorpusError: the names are not the same set of units.
        """

    @abstractmethod
    def same_truth(self, other: TaskPredictions) -> bool:
        """Return whether two answers, in one order of units, speak of the same truth."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return all there is as arrays of numbers and text, for a file."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, held: dict[str, np.ndarray]) -> Self:
        """Rebuild from `arrays`' data."""

    def detail(self) -> dict[str, Any]:
        """Return what else a record shall hold, JSON-ready: `kind`, `classes`, `per_class`, `confusion`, `details`."""
        return {}


def match_units(mine: NDArray[np.str_], theirs: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return where each of `theirs` stands in `mine`, `(n,)`.

    Raises:
        CorpusError: the two are not the same set of names.
    """
    a, b = np.argsort(mine, kind="stable"), np.argsort(theirs, kind="stable")
    if len(mine) != len(theirs) or not np.array_equal(mine[a], theirs[b]):
        shared = len(set(mine.tolist()) & set(theirs.tolist()))
        raise CorpusError(
            f"two predictions speak of {len(mine)} and {len(theirs)} clips, of which {shared} are the same; a "
            "comparison needs the same test clips: evaluate both on the same corpus and task"
        )
    rows = np.empty(len(theirs), dtype=np.int64)
    rows[b] = a
    return rows


def save_predictions(path: Path, predictions: TaskPredictions) -> None:
    """Write answers to a compressed `.npz`, atomically; it holds arrays and text only, nothing is pickled.

    Raises:
        StorageError: the disk is full, or the place can't be written.
    """
    packed = io.BytesIO()
    held: dict[str, Any] = {_TYPE: np.array(predictions.type_name), **predictions.arrays()}
    np.savez_compressed(packed, **held)
    write_atomic(path, packed.getvalue())


def load_predictions(path: Path) -> TaskPredictions:
    """Read answers back.

    Raises:
        CorpusError: the file is missing, damaged, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        # Files of the first version hold clips, and do not say so.
        return TaskPredictions._known[str(held.pop(_TYPE, "clips"))].from_arrays(held)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise CorpusError(
            f"{path} can't be read as predictions ({error}); expected the .npz of `auricle probe`: run it again"
        ) from error
