"""Answers that are plain arrays with one axis of units: a dataclass says which axis, the rest follows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError, CorpusError
from auricle.results.predictions import TaskPredictions, match_units


@dataclass(frozen=True)
class UnitPredictions(TaskPredictions):
    """Base of answers that hold arrays; fields that are no arrays are text, numbers or tuples of them.

    Attributes:
        names: `(n,)` unique names of the units.
        group: `(n,)` what each belongs to.
        fold: `(n,)` int64.
        seeds: S seeds.
        unit_axes: array field -> its axis of units; arrays that are not named here have none (class attribute).
        truth_fields: the fields that two answers about the same truth share (class attribute).
    """

    type_name: ClassVar[str] = "units"
    unit_axes: ClassVar[dict[str, int]] = {}
    truth_fields: ClassVar[tuple[str, ...]] = ()
    names: NDArray[np.str_]
    group: NDArray[np.str_]
    fold: NDArray[np.int64]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that there is a unit, that names are unique, sizes agree and numbers are finite.

        Raises:
            CorpusError: no unit, names twice, or arrays of other sizes.
            ConfigError: an answer is not finite.
        """
        n = len(self.names)
        if n == 0:
            raise CorpusError(f"no {self.type_name} to judge; check the split")
        if len(np.unique(self.names)) < n:
            raise CorpusError(f"{n - len(np.unique(self.names))} {self.type_name} occur twice; expected unique ones")
        for name, axis in self._axes().items():
            array = getattr(self, name)
            if array.shape[axis] != n:
                raise CorpusError(f"{name} has {array.shape[axis]} entries for {n} {self.type_name}")
            if array.dtype.kind == "f" and not self._may_be_nan(name) and not np.isfinite(array).all():
                raise ConfigError(
                    f"{int((~np.isfinite(array)).sum())} numbers in {name} are not finite; mend the encoder, or leave "
                    "the clips out that it can't read"
                )

    def _may_be_nan(self, name: str) -> bool:
        """Whether NaN stands for `undefined` in this field."""
        return False

    def _axes(self) -> dict[str, int]:
        return {"names": 0, "group": 0, "fold": 0, **self.unit_axes}

    @property
    def units(self) -> NDArray[np.str_]:
        """`(n,)` names of the units."""
        return self.names

    @property
    def groups(self) -> NDArray[np.str_]:
        """`(n,)` what each belongs to."""
        return self.group

    @property
    def folds(self) -> NDArray[np.int64]:
        """`(n,)` folds of the units."""
        return self.fold

    def reorder(self, units: NDArray[np.str_]) -> Self:
        """Return the same units in the order of these names.

        Raises:
            CorpusError: the names are not the same set of units.
        """
        rows = match_units(self.names, units)
        changes: dict[str, Any] = {
            name: np.take(getattr(self, name), rows, axis=axis) for name, axis in self._axes().items()
        }
        return dataclasses.replace(self, **changes)

    def same_truth(self, other: TaskPredictions) -> bool:
        """Return whether the fields of truth are equal."""
        return type(other) is type(self) and all(
            np.array_equal(np.asarray(getattr(self, name)), np.asarray(getattr(other, name)))
            for name in self.truth_fields
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every field as an array."""
        held = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            empty = isinstance(value, tuple) and not value
            held[field.name] = np.array([], dtype=np.str_) if empty else np.asarray(value)
        return held

    @classmethod
    def from_arrays(cls, held: dict[str, np.ndarray]) -> Self:
        """Rebuild from `arrays`' data."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            array = held[field.name]
            kind = str(field.type)
            if kind.startswith("tuple"):
                values[field.name] = tuple(array.tolist())
            elif kind in ("str", "int", "float", "bool"):
                values[field.name] = array.item()
            else:
                values[field.name] = array
        return cls(**values)
