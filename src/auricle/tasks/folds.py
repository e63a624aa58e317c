"""Division of clips into training, validation and test.

Validation clips are always part of the training data; test clips choose nothing. Protocols:

* `split`: the corpus's own train / valid / test. Without validation clips a fifth of the training clips validates.
* `folds` of the corpus: fold i is the test part, the next one (cyclic) validates, the others are the training part.
  With two folds only, a fifth of the training fold validates.
* made folds: as above, after clips are assigned to folds so that clips of one source stay together and each fold has
  its share of each class (iterative stratification of Sechidis et al., ECML 2011, over sources instead of clips).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.targets import Targets, cells, source_groups
from auricle.words import counted

Rows = NDArray[np.int64]
TRAIN, VALID, TEST = ("train", "training"), ("valid", "validation", "val", "dev"), ("test", "eval", "evaluation")
CARVED = 5  # one in five training sources validates where the corpus names no validation clips


@dataclass(frozen=True)
class Fold:
    """One division of the clips; numbers are indices into `Targets.rows`, not rows of the corpus."""

    name: str
    train: Rows
    valid: Rows
    test: Rows


@dataclass(frozen=True)
class Plan:
    """All divisions of a task.

    Attributes:
        protocol: `folds` or `split`.
        folds: the divisions; one for a split.
        description: how they were made.
        notes: caveats for whoever reads the scores.
    """

    protocol: Literal["folds", "split"]
    folds: tuple[Fold, ...]
    description: str
    notes: tuple[str, ...] = ()


def plan_folds(
    card: TaskCard,
    targets: Targets,
    *,
    splits: Sequence[object],
    folds: Sequence[object],
    groups: Sequence[str],
    seed: int = 0,
) -> Plan:
    """Divide the clips of a task as its card and its corpus define.

    Args:
        card: protocol and number of folds.
        targets: the clips that take part.
        splits: `(n,)` split name of each clip of `targets` (None or "" where there is none).
        folds: `(n,)` fold of each clip (None or "" where there is none).
        groups: `(n,)` source of each clip, else its file; clips of one group stay together.
        seed: of folds and validation clips that are made here.

    Raises:
        CorpusError: the protocol needs what the corpus lacks; fewer clips or sources than folds; an empty side.
    """
    names = [_text(s).lower() for s in splits]
    numbers = [_text(f) for f in folds]
    group_array = np.asarray([str(g) for g in groups])
    generator = np.random.default_rng(seed)
    has_split = any(n in TRAIN for n in names) and any(n in TEST for n in names)
    own_folds = sorted({f for f in numbers if f}, key=_natural)
    if card.protocol == "split" or (card.protocol == "auto" and has_split):
        if not has_split:
            raise CorpusError(
                f"task {card.name!r} needs a split, but its corpus names no train and test clips (found: "
                f"{', '.join(sorted({n for n in names if n})) or 'an empty column `split`'}); fill the column `split` "
                "with train, valid, test"
            )
        plan = _from_split(names, targets, group_array, generator)
    elif len(own_folds) >= 2:
        plan = _from_folds(numbers, own_folds, "the corpus's own folds", targets, group_array, generator)
    else:
        made = assign_folds(targets.truth, group_array, card.folds, generator, task=card.name)
        together = ", clips of one source together" if len(np.unique(group_array)) < len(group_array) else ""
        description = f"{card.folds} folds made with seed {seed}, stratified{together}"
        plan = _from_folds(
            [str(f + 1) for f in made],
            [str(f + 1) for f in range(card.folds)],
            description,
            targets,
            group_array,
            generator,
        )
    return Plan(plan.protocol, plan.folds, plan.description, (*plan.notes, *_warnings(plan, targets, group_array)))


def plan_corpus(card: TaskCard, targets: Targets, corpus: Corpus, seed: int) -> tuple[Plan, NDArray[np.str_]]:
    """Divide the clips of a task by the columns `split`, `fold` and source of its corpus.

    Returns:
        The plan, and the source of each clip `(n,)`.

    Raises:
        CorpusError: as for `plan_folds`.
    """
    groups = source_groups(card, corpus, targets.rows)
    splits, folds = cells(corpus, "split", targets.rows), cells(corpus, "fold", targets.rows)
    return plan_folds(card, targets, splits=splits, folds=folds, groups=groups.tolist(), seed=seed), groups


def assign_folds(
    truth: NDArray[np.bool_],
    groups: Sequence[str] | np.ndarray,
    folds: int,
    generator: np.random.Generator,
    task: str = "",
) -> Rows:
    """Assign clips to folds: groups whole, classes in equal shares.

    Args:
        truth: `(n, C)` labels.
        groups: `(n,)` group of each clip.
        folds: number of folds.
        generator: breaks ties.
        task: name for errors.

    Returns:
        `(n,)` fold 0 ... folds-1 of each clip.

    Raises:
        CorpusError: fewer clips, or fewer groups, than folds.
    """
    clips = truth.shape[0]
    if clips < folds:
        raise CorpusError(
            f"task {task!r} has {clips} labelled clips for {folds} folds; expected at least one clip per fold: label "
            "more clips, or name fewer folds in a column `fold` of the table"
        )
    names, member = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)
    if len(names) < folds:
        raise CorpusError(
            f"{counted(clips, 'clip')} of task {task!r} come from {counted(len(names), 'source')}, but {folds} "
            "folds were asked for; clips of one source stay in one fold: name fewer folds in a column `fold`, or "
            "correct the sources"
        )
    # Columns: the classes, and last the clips themselves, so that unlabelled groups are spread evenly too.
    have = np.zeros((len(names), truth.shape[1] + 1))
    np.add.at(have, member, np.column_stack([truth, np.ones(clips)]))
    want = np.tile(have.sum(0) / folds, (folds, 1))
    owner = np.full(len(names), -1)
    while (owner < 0).any():
        free = owner < 0
        left = (have[free, :-1] > 0).sum(0)
        column = int(np.where(left > 0, left, np.iinfo(int).max).argmin()) if left.any() else have.shape[1] - 1
        candidates = np.flatnonzero(free & (have[:, column] > 0))
        order = np.lexsort((generator.random(len(candidates)), -have[candidates, column]))
        for group in candidates[order]:
            fold = np.lexsort((generator.random(folds), -want[:, -1], -want[:, column]))[0]
            owner[group] = fold
            want[fold] -= have[group]
    result: Rows = owner[member].astype(np.int64)
    return result


def training_means(truth: np.ndarray, folds: Sequence[Fold]) -> NDArray[np.float64]:
    """Return for each test clip of all folds in a row the mean target of its fold's training and validation clips.

    Args:
        truth: `(n, ...)` targets of the clips.
        folds: with indices into `truth`.

    Returns:
        `(m, ...)` for m test clips.
    """
    means = [truth[np.concatenate([fold.train, fold.valid])].mean(0) for fold in folds]
    return np.repeat(np.asarray(means, dtype=np.float64), [len(fold.test) for fold in folds], axis=0)


def readable_folds(folds: Sequence[Fold], present: NDArray[np.bool_]) -> list[Fold]:
    """Return the folds without unreadable clips; indices are into the readable clips.

    Args:
        folds: of n clips.
        present: `(n,)` whether each clip could be read.

    Raises:
        CorpusError: a side of a fold has no clip left.
    """
    place, found = np.where(present, np.cumsum(present) - 1, -1), []
    for fold in folds:
        train, valid, test = (place[rows[present[rows]]] for rows in (fold.train, fold.valid, fold.test))
        if not (len(train) and len(valid) and len(test)):
            raise CorpusError(
                f"fold {fold.name} has {len(train)} training, {len(valid)} validation and {len(test)} test clips that "
                "can be read; expected some of each: repair those that `auricle corpus scan` lists"
            )
        found.append(Fold(fold.name, train, valid, test))
    return found


def _from_split(names: list[str], targets: Targets, groups: np.ndarray, generator: np.random.Generator) -> Plan:
    array = np.asarray(names)
    train, valid, test = (np.flatnonzero(np.isin(array, kind)) for kind in (TRAIN, VALID, TEST))
    description, notes = "the corpus's own split", []
    others = sorted(set(names) - {*TRAIN, *VALID, *TEST})
    if others:
        count = len(names) - len(train) - len(valid) - len(test)
        notes.append(f"{counted(count, 'clip')} of split {', '.join(repr(o) for o in others)} take no part")
    if not len(valid):
        train, valid, how = _carve(train, targets, groups, generator)
        description += f"; {how}"
    return Plan("split", (Fold("test", train, valid, test),), description, tuple(notes))


def _from_folds(
    numbers: list[str],
    names: list[str],
    description: str,
    targets: Targets,
    groups: np.ndarray,
    generator: np.random.Generator,
) -> Plan:
    array = np.asarray(numbers)
    notes = []
    if outside := int((~np.isin(array, names)).sum()):
        notes.append(f"{outside} clips without a fold take no part")
    made = []
    for number, name in enumerate(names):
        following = names[(number + 1) % len(names)]
        test = np.flatnonzero(array == name)
        if len(names) > 2:
            valid = np.flatnonzero(array == following)
            train = np.flatnonzero(np.isin(array, [n for n in names if n not in (name, following)]))
            how = "the next fold validates"
        else:
            train, valid, how = _carve(np.flatnonzero(array == following), targets, groups, generator)
        made.append(Fold(name, train, valid, test))
    return Plan("folds", tuple(made), f"{description}; {how}", tuple(notes))


def _carve(train: Rows, targets: Targets, groups: np.ndarray, generator: np.random.Generator) -> tuple[Rows, Rows, str]:
    """Take validation clips from the training clips, by source where there are enough sources."""
    sources = len(np.unique(groups[train]))
    if len(train) < 2:
        raise CorpusError(
            f"there are {len(train)} training clips and no validation clips; expected at least 2 training clips, so "
            "that one can choose the settings"
        )
    kept_together = groups[train] if sources >= 2 else np.arange(len(train)).astype(str)
    parts = min(CARVED, len(np.unique(kept_together)))
    held_out = assign_folds(targets.truth[train], kept_together, parts, generator) == 0
    by = "sources" if sources >= 2 else "clips (they name one source only)"
    return train[~held_out], train[held_out], f"one in {parts} of the training {by} validates"


def _warnings(plan: Plan, targets: Targets, groups: np.ndarray) -> list[str]:
    notes = []
    unseen: dict[str, set[str]] = {}
    empty: dict[str, set[str]] = {}
    shared: set[str] = set()
    for fold in plan.folds:
        for side, rows in (("training", fold.train), ("validation", fold.valid), ("test", fold.test)):
            if not len(rows):
                raise CorpusError(
                    f"fold {fold.name} has no {side} clips; expected some of each: correct the columns split or fold"
                )
        known = np.concatenate([fold.train, fold.valid])
        shared |= set(groups[known]) & set(groups[fold.test])
        trained, tested = np.any(targets.truth[known], axis=0), np.any(targets.truth[fold.test], axis=0)
        for c, name in enumerate(targets.classes):
            if tested[c] and not trained[c]:
                unseen.setdefault(name, set()).add(fold.name)
            if trained[c] and not tested[c]:
                empty.setdefault(name, set()).add(fold.name)
    if shared:
        notes.append(
            f"clips of {counted(len(shared), 'source')} are both in training and in test: scores may be too good"
        )
    if unseen:
        scored = "counted as errors" if targets.kind == "single" else "scored at chance"
        notes.append(f"in test but never in training ({scored}): {_listed(unseen)}")
    if empty:
        notes.append(f"in training but without test clips (not in the score there): {_listed(empty)}")
    return notes


def _listed(folds_of: dict[str, set[str]]) -> str:
    shown = [f"{name} (fold {', '.join(sorted(f, key=_natural))})" for name, f in sorted(folds_of.items())]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers in numeric order before names in alphabetic order."""
    return (0, float(text), text) if text.lstrip("-").isdigit() else (1, 0.0, text)
