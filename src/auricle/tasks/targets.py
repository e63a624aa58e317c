"""Labels of a corpus as numbers: who is in the task, which classes there are, what is true of each clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auricle.corpus.table import split_labels
from auricle.errors import CorpusError
from auricle.tasks.card import TaskCard


@dataclass(frozen=True)
class Targets:
    """What is true of the clips of a task.

    Attributes:
        kind: `single` or `multi`.
        classes: C names, sorted.
        rows: `(n,)` corpus rows of the clips that take part.
        truth: `(n, C)` bool, one row per entry of `rows`; exactly one True per row for `single`.
        notes: what was left out, and why.
    """

    kind: Literal["single", "multi"]
    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    truth: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    @property
    def numbers(self) -> NDArray[np.int64]:
        """`(n,)` class numbers of single-label clips."""
        numbers: NDArray[np.int64] = self.truth.argmax(1).astype(np.int64)
        return numbers


def mute_unseen(scores: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give classes that no known clip has one and the same score, below all others.

    What a trained head says of a class that it never saw is chance, and can even win. A single-label clip of such a
    class is an error; several labels: its average precision is that of clips in any order.

    Args:
        scores: `(..., C)`.
        known: `(m, C)` labels of the clips that were learnt from.
    """
    unseen = ~known.any(0)
    if not unseen.any():
        return scores
    muted = scores.copy()
    muted[..., unseen] = 0.0 if scores.min() >= 0 else scores.min() - 1
    return muted


def make_targets(card: TaskCard, cells: Sequence[object]) -> Targets:
    """Turn the label column into numbers.

    Clips without a label are left out, except where the card says `multi`: there they are clips of which no class is
    true.

    Args:
        card: its `labels` may be `auto`.
        cells: the label column, one entry per corpus row.

    Raises:
        CorpusError: no labels, one class only, or several labels on a clip of a `single` task.
    """
    sets = [tuple(dict.fromkeys(split_labels(None if cell is None else str(cell)))) for cell in cells]
    classes = tuple(sorted({label for labels in sets for label in labels}))
    if not classes:
        raise CorpusError(
            f"no clip has a label in column {card.label!r}, so task {card.name!r} has nothing to predict; add labels "
            "(sub-folders, or a metadata.csv with columns file,label), or name another column"
        )
    several = [i for i, labels in enumerate(sets) if len(labels) > 1]
    kind: Literal["single", "multi"] = (
        "multi" if card.labels == "multi" or (card.labels == "auto" and several) else "single"
    )
    if kind == "single" and several:
        raise CorpusError(
            f"{len(several)} clips have several labels (the first: row {several[0]}, {'; '.join(sets[several[0]])}), "
            f"but task {card.name!r} expects one each; use labels='multi', or a column with one label"
        )
    keep = [i for i, labels in enumerate(sets) if labels or card.labels == "multi"]
    notes = [] if len(keep) == len(sets) else [f"{len(sets) - len(keep)} clips without a label were left out"]
    place = {name: c for c, name in enumerate(classes)}
    truth = np.zeros((len(keep), len(classes)), dtype=bool)
    for row, i in enumerate(keep):
        truth[row, [place[label] for label in sets[i]]] = True
    constant = np.all(truth, axis=0)
    if len(classes) == 1 and (kind == "single" or constant[0]):
        raise CorpusError(
            f"every labelled clip of task {card.name!r} has the label {classes[0]!r}; expected at least two classes: "
            "add clips of another class"
        )
    if kind == "multi" and constant.all():
        raise CorpusError(f"every clip of task {card.name!r} has every label; there is nothing to predict")
    return Targets(kind, classes, np.array(keep, dtype=np.int64), truth, tuple(notes))
