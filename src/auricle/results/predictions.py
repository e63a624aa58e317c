"""What a probe predicted for each test unit of any type of task: clips, trials, queries, utterances.

Predictions hold names of the units, their groups, and enough to compute each metric under any weighting of the units.
So intervals, paired comparisons, files and records are written once for all types.

Letters in shapes: n units, S seeds, R weightings.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.errors import ConfigError, CorpusError
from auricle.storage import NPZ_ERRORS, write_atomic

_TYPE = "type_name"
# Where the types of predictions live that a file may hold; others are known once their module is imported.
_HOMES = {
    name: f"auricle.tasks.{name}.answers"
    for name in (
        *("clips", "events", "sequence", "regression", "verification", "anomaly"),
        *("retrieval", "clustering", "few_shot", "label_budget"),
    )
} | dict.fromkeys(("zero_shot", "text_retrieval"), "auricle.evaluation.audio_text.predictions")


@dataclass(frozen=True)
class TaskPredictions(ABC):
    """Predictions and truth of the test units of all folds in a row.

    A type of task adds fields: arrays, tuples, text, numbers, booleans, settings, dictionaries of arrays, and
    dataclasses of arrays. They are checked, reordered, compared and kept in files by what the class attributes say;
    fields whose names begin with an underscore are not kept.

    Attributes:
        names: `(n,)` names that are equal for equal units.
        group: `(n,)` what each unit belongs to: units of one group are no independent evidence, and count as one.
        fold: `(n,)` number of the fold that tested each unit.
        seeds: S seeds of what was trained.
        type_name: of the type of task (class attribute); each has one subclass.
        unit_axes: array field -> its axis of units, that of seeds before it; arrays that are not named here have none
            (class attribute).
        truth_fields: the fields that predictions of the same truth share (class attribute).
        renamed: former name of a key in files -> its name now (class attribute).
        may_repeat: whether two units may have the same name (class attribute).
        trials: whether a unit is one answer, right or wrong (class attribute).
    """

    type_name: ClassVar[str] = ""
    unit_axes: ClassVar[dict[str, int]] = {}
    truth_fields: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[dict[str, str]] = {}
    may_repeat: ClassVar[bool] = False
    trials: ClassVar[bool] = False
    _known: ClassVar[dict[str, type[TaskPredictions]]] = {}
    names: NDArray[np.str_]
    group: NDArray[np.str_]
    fold: NDArray[np.int64]
    seeds: tuple[int, ...]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register the subclass under its type's name, by which files are read back."""
        super().__init_subclass__(**kwargs)
        TaskPredictions._known[cls.type_name] = cls

    def __post_init__(self) -> None:
        """Check that there is a unit, that names are unique, sizes agree and numbers are finite.

        Raises:
            CorpusError: no unit, a name twice, or arrays of other sizes.
            ConfigError: a predicted number is not finite.
        """
        n = len(self.names)
        if n == 0:
            raise CorpusError(f"there are no {self.type_name} to score; check the split")
        repeated = n - len(np.unique(self.names))
        if repeated and not self.may_repeat:
            raise CorpusError(f"{repeated} {self.type_name} occur twice; expected unique ones")
        for name, axis in self._axes().items():
            for array in _arrays_of(getattr(self, name)).values():
                if array.shape[axis] != n:
                    raise CorpusError(f"{name} has {array.shape[axis]} entries for {n} {self.type_name}")
                if array.dtype.kind == "f" and not self._may_be_nan(name) and not np.isfinite(array).all():
                    raise ConfigError(
                        f"{int((~np.isfinite(array)).sum())} numbers in {name} are not finite; fix the encoder, or "
                        "exclude the clips for which it returns them"
                    )

    def _may_be_nan(self, name: str) -> bool:
        """Return whether NaN means "undefined" in this field."""
        return False

    def _axes(self) -> dict[str, int]:
        return {"names": 0, "group": 0, "fold": 0, **self.unit_axes}

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

    def constant(self) -> tuple[str, TaskPredictions] | None:
        """Return predictions that ignore the sound, and their name in tables; None: the type has none."""
        return None

    def evidence(self, metric: str) -> NDArray[np.float64]:
        """Return how much each unit `(n,)` counts in a metric: all the same, or in a class mean one by its class."""
        return np.ones(len(self.names))

    def joined(self, other: Self) -> Self:
        """Return the units of both in a row, those of `other` last, for metrics that can be pooled."""
        seeds = math.lcm(len(self.seeds), len(other.seeds))

        def in_row(mine: np.ndarray, theirs: np.ndarray, axis: int) -> np.ndarray:
            if axis:  # the axis of seeds comes before that of units
                mine, theirs = (np.concatenate([a] * (seeds // a.shape[axis - 1]), axis - 1) for a in (mine, theirs))
            return np.concatenate([mine, theirs], axis)

        changes = self._changed(in_row, other)
        n = len(changes["names"])
        changes |= {"names": np.arange(n).astype(np.str_), "seeds": tuple(range(seeds))}
        return dataclasses.replace(self, **{**changes, **self._when_joined(n, seeds)})

    def _when_joined(self, units: int, seeds: int) -> dict[str, Any]:
        """Return the fields that have no plain axis of units, for predictions of this many units and seeds."""
        return {}

    def detail(self) -> dict[str, Any]:
        """Return what else a record shall hold, JSON-ready: `kind`, `classes`, `per_class`, `confusion`, `details`."""
        return {}

    def reorder(self, names: NDArray[np.str_]) -> Self:
        """Return the same units in the order of these names.

        Raises:
            CorpusError: the names are not the same set of units.
        """
        rows = match_units(self.names, names)

        def moved(array: np.ndarray, axis: int) -> np.ndarray:
            return np.take(array, rows, axis=axis)

        return dataclasses.replace(self, **self._changed(moved), **self._moved(rows))

    def _changed(self, change: Callable[..., np.ndarray], *others: Self) -> dict[str, Any]:
        """Apply `change(array, of others ..., axis of units)` to every array of units."""
        changes: dict[str, Any] = {}
        for name, axis in self._axes().items():
            held = [getattr(one, name) for one in (self, *others)]
            if isinstance(held[0], dict):
                changes[name] = {key: change(*(each[key] for each in held), axis) for key in held[0]}
            else:
                changes[name] = change(*held, axis)
        return changes

    def _moved(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Return the fields that have no plain axis of units, after the units were put in the order `rows`."""
        return {}

    def same_truth(self, other: TaskPredictions) -> bool:
        """Return whether predictions in the same order of units are about the same truth."""
        return type(other) is type(self) and all(
            np.array_equal(np.asarray(getattr(self, name)), np.asarray(getattr(other, name)))
            for name in self.truth_fields
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every field as arrays of numbers and text, for a file; `field.key` for those that hold several."""
        held: dict[str, np.ndarray] = {}
        for name in _kept(type(self)):
            value = getattr(self, name)
            if isinstance(value, Config):
                held[name] = np.array(json.dumps(value.to_json()))
            elif isinstance(value, tuple) and not value:
                held[name] = np.array([], dtype=np.str_)
            else:
                several = isinstance(value, Mapping) or dataclasses.is_dataclass(value)
                held |= {f"{name}.{key}" if several else name: array for key, array in _arrays_of(value).items()}
        return held

    @classmethod
    def from_arrays(cls, held: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from the data of `arrays`."""
        known: dict[str, np.ndarray] = {}
        for key, array in held.items():
            head, dot, rest = key.partition(".")
            known[f"{cls.renamed.get(head, head)}{dot}{rest}"] = array
        return cls(**{name: _restored(kind, name, known) for name, kind in _kept(cls).items()})


def _kept(cls: type[TaskPredictions]) -> dict[str, Any]:
    """Annotation of each field that a file holds."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if not field.name.startswith("_")}


def _arrays_of(value: Any) -> dict[str, np.ndarray]:
    if dataclasses.is_dataclass(value):
        return {field.name: np.asarray(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return dict(value) if isinstance(value, Mapping) else {"": np.asarray(value)}


def _restored(kind: Any, name: str, held: Mapping[str, np.ndarray]) -> Any:
    """Make a field of the arrays of a file, as its annotation asks."""
    several = {key.removeprefix(f"{name}."): array for key, array in held.items() if key.startswith(f"{name}.")}
    origin = typing.get_origin(kind)
    if origin is dict:
        return several
    if isinstance(kind, type) and issubclass(kind, Config):
        return kind.from_json(json.loads(str(held[name])))
    if dataclasses.is_dataclass(kind):
        return typing.cast(Callable[..., Any], kind)(**several)
    if origin is tuple:
        return tuple(held[name].tolist())
    return held[name].item() if origin is Literal or kind in (str, int, float, bool) else held[name]


def match_units(mine: NDArray[np.str_], theirs: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return where each of `theirs` stands in `mine`, `(n,)`.

    Raises:
        CorpusError: the two are not the same set of names.
    """
    a, b = np.argsort(mine, kind="stable"), np.argsort(theirs, kind="stable")
    if len(mine) != len(theirs) or not np.array_equal(mine[a], theirs[b]):
        shared = len(set(mine.tolist()) & set(theirs.tolist()))
        raise CorpusError(
            f"predictions of {len(mine)} and {len(theirs)} test units share {shared}; a comparison needs the same "
            "units: evaluate both on the same corpus and task"
        )
    rows = np.empty(len(theirs), dtype=np.int64)
    rows[b] = a
    return rows


def save_predictions(path: Path, predictions: TaskPredictions) -> None:
    """Write predictions to a compressed `.npz`, atomically; the file holds arrays and text only, nothing is pickled.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    packed = io.BytesIO()
    held: dict[str, Any] = {_TYPE: np.array(predictions.type_name), **predictions.arrays()}
    np.savez_compressed(packed, **held)
    write_atomic(path, packed.getvalue())


def load_predictions(path: Path) -> TaskPredictions:
    """Read predictions of any type back.

    Raises:
        CorpusError: the file is missing, damaged, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        # Files of the first version hold clips, and do not say so.
        name = str(held.pop(_TYPE, "clips"))
        if name not in TaskPredictions._known and name in _HOMES:
            import_module(_HOMES[name])
        return TaskPredictions._known[name].from_arrays(held)
    except NPZ_ERRORS as error:
        raise CorpusError(
            f"{path} can't be read as predictions ({error}); expected what `auricle probe` wrote: delete the file and "
            "run it again"
        ) from error
