"""Events of many clips as arrays, for files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.events import Event


@dataclass(frozen=True)
class Listed:
    """Events of many clips as arrays: `clip (E,)`, `times (E, 2)`, `label (E,)` place of the class, `seed (E,)`."""

    clip: NDArray[np.int64]
    times: NDArray[np.float64]
    label: NDArray[np.int64]
    seed: NDArray[np.int64]

    @classmethod
    def of(cls, by_seed: Sequence[Sequence[Sequence[Event]]], classes: Sequence[str]) -> Self:
        """Put events of each seed and clip in a row."""
        place = {name: c for c, name in enumerate(classes)}
        rows = [(i, e, s) for s, clips in enumerate(by_seed) for i, events in enumerate(clips) for e in events]
        return cls(
            np.array([i for i, _, _ in rows], dtype=np.int64),
            np.array([[e[0], e[1]] for _, e, _ in rows], dtype=np.float64).reshape(-1, 2),
            np.array([place[e[2]] for _, e, _ in rows], dtype=np.int64),
            np.array([s for _, _, s in rows], dtype=np.int64),
        )

    def lists(self, clips: int, classes: Sequence[str], seed: int = 0) -> list[list[Event]]:
        """Return the events of each clip of one seed."""
        found: list[list[Event]] = [[] for _ in range(clips)]
        for i in np.flatnonzero(self.seed == seed):
            onset, offset = self.times[i].tolist()
            found[self.clip[i]].append((onset, offset, classes[self.label[i]]))
        return found

    def moved(self, rows: NDArray[np.int64]) -> Listed:
        """Return the same events after the clips were put in the order `rows`."""
        where = np.argsort(rows)
        clip = where[self.clip]
        order = np.lexsort((clip, self.seed))  # stable: a clip keeps the order of its events
        return Listed(clip[order], self.times[order], self.label[order], self.seed[order])
