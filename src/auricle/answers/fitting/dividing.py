"""Division of small data: as many folds as its sources allow, and parts of recordings where there are too few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import TEST, TRAIN
from auricle.tasks.targets import labels_of, make_targets, source_groups
from auricle.words import counted

_LEAST = 3  # training, validation and test need a source each
_LEAST_CALLS = 4  # of a class, or what is chosen on one of them is measured on one other


def divisible(card: TaskCard, corpus: Corpus) -> tuple[TaskCard, Corpus]:
    """Return a task of labelled clips and its corpus so that they can be divided by source.

    Folds are as many as the rarest class has sources, at most the card's. Where that is fewer than three, consecutive
    parts of each recording stand in for sources, and a note says so. Classes with too few clips are removed.

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
    parts = min(card.folds, int(targets.truth.sum(0).min()))
    starts = np.asarray(corpus.column("start"), dtype=np.float64)[targets.rows]
    names = np.full(len(corpus), None, dtype=object)
    for group in np.unique(groups):
        mine = np.flatnonzero(groups == group)
        files = np.asarray(corpus.column("file"))[targets.rows[mine]]
        mine = mine[np.lexsort((starts[mine], files))]
        calls = targets.truth[mine].any(1).cumsum()
        part = np.minimum(np.maximum(calls - 1, 0) * parts // max(int(calls[-1]), 1), parts - 1)
        names[targets.rows[mine]] = [f"{group}, part {p + 1}" for p in part]
    notes.append(
        f"a class is in {counted(min(holders), 'source')} only: {parts} consecutive parts of each were divided, so "
        "that the expected performance is that on the same recordings; label calls of others to know it there"
    )
    cut = corpus.with_column("source", [None if name is None else str(name) for name in names])
    return card.replace(folds=parts, source="source"), _noted(cut, notes)


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
