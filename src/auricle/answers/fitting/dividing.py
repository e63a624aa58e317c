"""Division of small data: as many folds as its sources allow, and parts of recordings where there are too few."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import TEST, TRAIN
from auricle.tasks.targets import Targets, labels_of, make_targets, source_groups
from auricle.words import counted, was

_LEAST = 3  # training, validation and test need a source each
_SAME = 1e-6  # seconds that rounding may add to an overlap
_LEAST_CALLS = 4  # of a class, or what is chosen on one of them is measured on one other


def divisible(card: TaskCard, corpus: Corpus) -> tuple[TaskCard, Corpus]:
    """Return a task of labelled clips and its corpus so that they can be divided by source.

    Folds are as many as the rarest class has sources, at most the card's. Where that is fewer than three, consecutive
    parts of each recording stand in for sources, and a note says so. A call is in one part, and windows that overlap
    another part are excluded. Classes with too few clips are removed.

    Args:
        card: of labelled clips.
        corpus: its clips.

    Raises:
        CorpusError: no class has enough labelled clips.
    """
    card, corpus, notes = _without_rare(card, corpus)
    targets = make_targets(card, labels_of(card, corpus))
    splits = {str(s).lower() for s in corpus.column("split")}
    own = {str(f) for f in corpus.column("fold") if f is not None}
    if (splits & set(TRAIN) and splits & set(TEST)) or len(own) >= _LEAST:
        return card, _noted(corpus, notes)
    groups = source_groups(card, corpus, targets.rows)
    holders = [len(np.unique(groups[column])) for column in targets.truth.T]
    folds = min(card.folds, *holders)
    if folds >= _LEAST:
        if folds < card.folds:
            notes.append(f"{folds} folds: a class is in {counted(folds, 'source')} only")
        return card.replace(folds=folds), _noted(corpus, notes)
    most = min(card.folds, int(targets.truth.sum(0).min()))
    part, touching = _in_parts(corpus, targets, groups, most, whole=True)
    kept = _folds(targets, groups, part, touching)
    notes.append(
        f"a class is in {counted(min(holders), 'source')} only: consecutive parts of each were divided, so "
        "that the expected performance is that on the same recordings; label calls of others to know it there"
    )
    if kept < _LEAST:
        part, touching = _in_parts(corpus, targets, groups, most, whole=False)
        kept = _folds(targets, groups, part, touching)
        notes.append("calls follow each other without a pause, so that one call may be in two parts")
    if kept < _LEAST:
        raise CorpusError(
            f"a class is in {counted(min(holders), 'source')} only, whose windows overlap too much to be divided into "
            f"{_LEAST} parts; expected windows that do not overlap"
        )
    if touching.any():
        gone = int(touching.sum())
        notes.append(f"{counted(gone, 'window')} that overlap{'s' * (gone == 1)} another part {was(gone)} excluded")
    names = np.full(len(corpus), None, dtype=object)
    names[targets.rows] = [f"{group}, part {p + 1}" for group, p in zip(groups, part, strict=True)]
    cut = corpus.with_column("source", [None if name is None else str(name) for name in names])
    left = np.ones(len(corpus), dtype=bool)
    left[targets.rows[touching]] = False
    return card.replace(folds=min(most, kept), source="source"), _noted(cut.select(left), notes)


def _in_parts(
    corpus: Corpus, targets: Targets, groups: NDArray[Any], parts: int, whole: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the part of each clip of `targets`, and which clips share sound with another part.

    Parts have about as many positive clips each. With `whole`, positive clips that overlap or abut are one call, which
    is in one part. Of two that overlap, the one without a label is the one that is excluded, else the later one.
    """
    starts, seconds = (np.asarray(corpus.column(n), dtype=np.float64)[targets.rows] for n in ("start", "seconds"))
    ends, files = starts + seconds, np.asarray(corpus.column("file"))[targets.rows]
    positive = np.asarray(targets.truth.any(1))
    part, touching = np.zeros(len(starts), dtype=np.int64), np.zeros(len(starts), dtype=bool)
    for group in np.unique(groups):
        mine = np.flatnonzero(groups == group)
        mine = mine[np.lexsort((starts[mine], files[mine]))]
        total, calls, now, last = max(int(positive[mine].sum()), 1), 0, 0, ("", -np.inf)
        for row in mine:
            if positive[row]:
                if not (whole and files[row] == last[0] and starts[row] <= last[1] + _SAME):
                    now = calls * parts // total
                calls, last = calls + 1, (files[row], ends[row])
            part[row] = now
        for file in np.unique(files[mine]):
            here = mine[files[mine] == file]
            calling = here[positive[here]]
            for row in here[~positive[here]]:
                meets = (starts[calling] < ends[row] - _SAME) & (ends[calling] > starts[row] + _SAME)
                touching[row] = bool((meets & (part[calling] != part[row])).any())
            end, before, of = -np.inf, -np.inf, -1  # of all clips, of those of former parts, and the part at hand
            for row in here[~touching[here]]:
                if part[row] != of:
                    before, of = end, part[row]
                touching[row] = starts[row] < before - _SAME
                end = end if touching[row] else max(end, ends[row])
    return part, touching


def _folds(targets: Targets, groups: NDArray[Any], part: NDArray[np.int64], touching: NDArray[np.bool_]) -> int:
    """Return in how many parts the rarest class has a clip."""
    return min(len({*zip(groups[held], part[held], strict=True)}) for held in (targets.truth.T & ~touching))


def _without_rare(card: TaskCard, corpus: Corpus) -> tuple[TaskCard, Corpus, list[str]]:
    labels = [
        () if cell is None else tuple(filter(None, map(str.strip, str(cell).split(";"))))
        for cell in labels_of(card, corpus)
    ]
    counts: dict[str, int] = {}
    for one in labels:
        for name in set(one):
            counts[name] = counts.get(name, 0) + 1
    rare = {name: count for name, count in sorted(counts.items()) if count < _LEAST_CALLS}
    listed = ", ".join(f"{name} ({count})" for name, count in rare.items())
    if not counts or len(rare) == len(counts):
        raise CorpusError(
            f"no class has {_LEAST_CALLS} labelled clips ({listed or 'no clip has a label'}), the fewest to fit and "
            "measure a model: label more"
        )
    if not rare:
        return card, corpus, []
    kept = [";".join(name for name in one if name not in rare) or None for one in labels]
    gone = np.array([bool(one) and not left for one, left in zip(labels, kept, strict=True)])
    corpus = corpus.with_column(card.label, kept).select(~gone)
    return card, corpus, [f"classes with fewer than {_LEAST_CALLS} labelled clips were excluded: {listed}"]


def _noted(corpus: Corpus, notes: list[str]) -> Corpus:
    return replace(corpus, notes=(*corpus.notes, *notes))
