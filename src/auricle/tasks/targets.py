"""What a task reads from the columns of a corpus: labels as numbers, sources and names of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.config import nearest
from auricle.corpus.table import Corpus, split_labels
from auricle.errors import CorpusError
from auricle.tasks.card import TaskCard
from auricle.words import counted, was


@dataclass(frozen=True)
class Targets:
    """Labels of the clips of a task.

    Attributes:
        kind: `single` or `multi`.
        classes: C names, sorted.
        rows: `(n,)` corpus rows of the clips that take part.
        truth: `(n, C)` bool, one row per entry of `rows`; exactly one True per row for `single`.
        notes: which clips were excluded, and why.
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

    def labels(self, places: NDArray[np.int64]) -> torch.Tensor:
        """Return what probes are trained on for some of the clips: class numbers `(m,)`, or zeros and ones `(m, C)`."""
        if self.kind == "single":
            return torch.from_numpy(self.numbers[places])
        return torch.from_numpy(self.truth[places].astype(np.float32))


def mute_unseen(scores: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give classes without a training clip one and the same score, below all others.

    A trained head's score of an unseen class is chance, and can even win. With one label a clip of such a class is an
    error; with several, the average precision of the class is that of a random order.

    Args:
        scores: `(..., C)`.
        known: `(m, C)` labels of the training clips.
    """
    unseen = ~known.any(0)
    if not unseen.any():
        return scores
    muted = scores.copy()
    muted[..., unseen] = 0.0 if scores.min() >= 0 else scores.min() - 1
    return muted


def make_targets(card: TaskCard, cells: Sequence[object]) -> Targets:
    """Turn the label column into numbers.

    Clips without a label are excluded, except where the card says `multi`: there no class is true of them.

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
    count = len(sets) - len(keep)
    notes = [] if len(keep) == len(sets) else [f"{counted(count, 'clip')} without a label {was(count)} excluded"]
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


def labels_of(card: TaskCard, corpus: Corpus) -> list[Any]:
    """Return the label cell of each clip.

    Raises:
        CorpusError: the corpus has no such column.
    """
    if card.label not in corpus.columns:
        raise CorpusError(
            f"corpus {corpus.name} has no column {card.label!r}, which task {card.name!r} reads: name another one with "
            f"--label{nearest(card.label, corpus.columns)}"
        )
    return corpus.column(card.label)


def cells(corpus: Corpus, column: str, rows: NDArray[np.int64]) -> list[Any]:
    """Return a column's values for some rows."""
    values = corpus.column(column)
    return [values[row] for row in rows]


def source_groups(card: TaskCard, corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return the source of each clip; clips without one belong to their file."""
    files = cells(corpus, "file", rows)
    sources = cells(corpus, card.source, rows) if card.source in corpus.columns else [None] * len(files)
    named = [f"source {s}" if s not in (None, "") else f"file {f}" for s, f in zip(sources, files, strict=True)]
    return np.array(named, dtype=np.str_)


def clip_names(corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return a unique name for each clip: its file, and its start in seconds."""
    files, starts = corpus.column("file"), corpus.column("start")
    return np.array([f"{files[r]}@{starts[r]:.6f}" for r in rows], dtype=np.str_)
