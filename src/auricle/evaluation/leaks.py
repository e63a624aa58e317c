"""Test clips that are copies of training clips: counted, reported with the result, refused or dropped on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np

from auricle.corpus.columns import split_labels
from auricle.corpus.copies import KINDS, MOST_NEAR, Copy, Kind, find_copies
from auricle.corpus.losses import with_losses
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError, Reason
from auricle.tasks.card import TaskCard
from auricle.tasks.task_type import TaskPlan, TaskType
from auricle.words import counted, was

OnLeak = Literal["warn", "refuse", "drop"]
"""What happens where test clips are copies of training clips: a note on the result, an error, or the copies go."""

# Pairs that a record names, of those that it counts.
_NAMED = 20


def check_leaks(
    kind: TaskType,
    card: TaskCard,
    corpus: Corpus,
    plan: TaskPlan,
    on_leak: OnLeak,
    *,
    seed: int,
    progress: bool = False,
) -> tuple[Corpus, TaskPlan, Callable[[], dict[str, Any]]]:
    """Compare the test clips of a task with its training clips.

    In a task without training clips, all its clips are compared with each other. `corpus.copies` says what counts as a
    copy; in two clips of one source it is no surprise and counts all the same.

    Args:
        kind: type of the task.
        card: the task.
        corpus: its clips.
        plan: of the task on this corpus.
        on_leak: `warn`: the result has a note; `refuse`: an error; `drop`: test clips that are copies are removed from
            the corpus, which is planned again (where each fold is the test part once, one clip of each group of copies
            stays; where the new folds divide other copies, one clip of each group in the whole task).
        seed: of the plan.
        progress: show progress bars.

    Returns:
        The corpus and its plan, without the dropped clips; and a function that compares the clips, unless that is done,
        and returns JSON-ready facts: `clips` that are copies, by kind, `of` how many test clips, `pairs` by name,
        `other_label` clips all of whose copies have another label, `dropped` clips, `contradictory` pairs of equal
        clips with different labels, by name as `labels`, and `said`: these facts in words. Empty where there are no
        copies; only `said` where too many clips were compared to search near copies (`corpus.copies.MOST_NEAR`).

    Raises:
        CorpusError: there are copies, and `on_leak` is `refuse`; or as the type's `plan`.
    """
    check = cache(lambda: _check(kind, card, corpus, plan, on_leak, seed, progress))
    if on_leak == "warn":
        return corpus, plan, lambda: check()[2]
    kept, new, facts = check()
    return kept, new, lambda: facts


def _check(
    kind: TaskType, card: TaskCard, corpus: Corpus, plan: TaskPlan, on_leak: OnLeak, seed: int, progress: bool
) -> tuple[Corpus, TaskPlan, dict[str, Any]]:
    copies = find_copies(corpus, plan.rows, progress=progress)
    leaks = leaking_pairs(plan, copies)
    labels = [frozenset(split_labels(None if c is None else str(c))) for c in _labels(corpus, card)]
    equal = [copy for copy in copies if copy.kind != "near" and labels[copy.first] != labels[copy.second]]
    unsought = [
        f"{len(plan.rows):,} clips are more than {MOST_NEAR:,}: copies of equal bytes and samples were searched, not "
        "the same sound encoded again"
    ] * (len(plan.rows) > MOST_NEAR)
    if not leaks and not equal:
        return corpus, plan, {"said": unsought} if unsought else {}
    kinds = strongest({}, [(test, copy.kind) for test, _, copy in leaks])
    files = corpus.column("file")
    tested = {row for fold in plan.folds for row in plan.rows[fold.test].tolist()} or set(plan.rows.tolist())
    alike = {test for test, other, _ in leaks if labels[test] == labels[other]}
    facts: dict[str, Any] = {
        "clips": dict(Counter(kinds.values())),
        "of": len(tested),
        "pairs": [[files[test], files[other], copy.kind] for test, other, copy in leaks[:_NAMED]],
        "other_label": len(kinds) - len(alike),
        "dropped": 0,
        "contradictory": len(equal),
        "labels": [[files[copy.first], files[copy.second]] for copy in equal[:_NAMED]],
        "said": unsought,
    }
    if leaks:
        test, other, _ = leaks[0]
        one, several = (
            ("test clips is a copy of a training clip", "test clips are copies of training clips")
            if plan.folds
            else ("clips is a copy of another", "clips are copies of others")
        )
        whose = one if len(kinds) == 1 else several
        found = f"{len(kinds)} of {len(tested)} {whose} ({by_kind(kinds)}; such as {files[test]} of {files[other]})"
        if on_leak == "refuse":
            raise CorpusError(
                f"{found} in task {card.name!r}. Scores of copies are not those of new clips; expected none. Set "
                "--on-leak drop to evaluate without them, or --on-leak warn to evaluate with them"
            )
        if on_leak == "drop":
            gone = _dropped(leaks)
            kept, plan = _planned_without(gone, kind, card, corpus, seed)
            # Folds made of fewer clips are others, and may divide pairs that the first plan kept together.
            if leaking_pairs(plan, _among(copies, corpus, gone)):
                gone |= _dropped(
                    [(copy.second, copy.first, copy) for copy in copies if not {copy.first, copy.second} & gone]
                )
                kept, plan = _planned_without(gone, kind, card, corpus, seed)
            corpus, facts["dropped"] = kept, len(gone)
            facts["said"].append(f"{found}: {counted(len(gone), 'clip')} {was(len(gone))} removed")
        else:
            other_label = facts["other_label"]
            effect = "the score is optimistic" if alike else "copies with another label make the score pessimistic"
            if alike and other_label:
                has = "has" if other_label == 1 else "have"
                effect = f"{other_label} of them {has} another label, and by the others the score is optimistic"
            facts["said"].append(f"{found}: {effect}; --on-leak drop removes them")
    if equal:
        pair, have = equal[0], "pair of equal clips has" if len(equal) == 1 else "pairs of equal clips have"
        facts["said"].append(
            f"{len(equal)} {have} different labels, such as {files[pair.first]} and {files[pair.second]}"
        )
    return corpus, plan, facts


def _labels(corpus: Corpus, card: TaskCard) -> list[Any]:
    return corpus.column(card.label) if card.label in corpus.columns else [None] * len(corpus)


def by_kind(kinds: Mapping[int, Kind]) -> str:
    """Return how many clips are copies of each kind: `1 equal bytes, 2 near copies`."""
    counts = Counter(kinds.values())
    equal = [f"{counts[kind]} equal {kind}" for kind in ("bytes", "samples") if counts[kind]]
    return ", ".join(equal + [counted(counts["near"], "near copy")] * bool(counts["near"]))


def strongest(kinds: Mapping[int, Kind], pairs: Iterable[tuple[int, Kind]]) -> dict[int, Kind]:
    """Return the strongest kind of copy of each row, of those known and more pairs."""
    order = KINDS.index
    found = dict(kinds)
    for row, kind in pairs:
        found[row] = min(found.get(row, kind), kind, key=order)
    return found


def leaking_pairs(plan: TaskPlan, copies: list[Copy]) -> list[tuple[int, int, Copy]]:
    """Return (test row, training row, copy) of each pair that a fold has on both sides; rows are of the corpus.

    Without folds: of each pair the second row as the test row.
    """
    if not plan.folds:
        return [(copy.second, copy.first, copy) for copy in copies]
    found = []
    for fold in plan.folds:
        test = set(plan.rows[fold.test].tolist())
        # In the protocols of some kits the test clips validate, too: that is listed as a leak of the protocol.
        known = set(plan.rows[np.concatenate([fold.train, fold.valid])].tolist()) - test
        for copy in copies:
            for mine, other in ((copy.first, copy.second), (copy.second, copy.first)):
                if mine in test and other in known:
                    found.append((mine, other, copy))
    return found


def _dropped(leaks: list[tuple[int, int, Copy]]) -> set[int]:
    """Choose test rows so that no pair is left."""
    gone: set[int] = set()
    for test, other, _ in leaks:
        if test not in gone and other not in gone:
            gone.add(test)
    return gone


def _planned_without(
    gone: set[int], kind: TaskType, card: TaskCard, corpus: Corpus, seed: int
) -> tuple[Corpus, TaskPlan]:
    ledger = with_losses(corpus, {row: Reason("it is a copy of a training clip", "copy") for row in sorted(gone)})
    kept = replace(corpus.select([row for row in range(len(corpus)) if row not in gone]), ledger=ledger)
    return kept, kind.plan(card, kept, seed)


def _among(copies: list[Copy], corpus: Corpus, gone: set[int]) -> list[Copy]:
    """Return the copies that are left, by the rows of the corpus without these rows."""
    place = {row: new for new, row in enumerate(row for row in range(len(corpus)) if row not in gone)}
    left = [copy for copy in copies if copy.first in place and copy.second in place]
    return [Copy(place[copy.first], place[copy.second], copy.kind) for copy in left]
