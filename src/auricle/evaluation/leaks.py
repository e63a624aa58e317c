"""Test clips that are copies of training clips: counted, reported with the result, refused or dropped on request."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from auricle.corpus.copies import MOST_NEAR, Copy, find_copies
from auricle.corpus.losses import with_losses
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError, Reason
from auricle.tasks.card import TaskCard
from auricle.tasks.task_type import TaskPlan, TaskType

OnLeak = Literal["warn", "refuse", "drop"]
"""What happens where test clips are copies of training clips: a note on the result, an error, or the copies go."""

_KINDS = {"bytes": "equal bytes", "samples": "equal samples", "near": "near copies"}
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
) -> tuple[Corpus, TaskPlan, dict[str, Any]]:
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
        The corpus and its plan, without the dropped clips; and JSON-ready facts: `clips` that are copies, by kind, `of`
        how many test clips, `pairs` by name, `dropped` clips, `contradictory` pairs of equal clips with different
        labels, by name as `labels`, and `said`: these facts in words. Empty where there are no
        copies; only `said` where too many clips were compared to search near copies (`corpus.copies.MOST_NEAR`).

    Raises:
        CorpusError: there are copies, and `on_leak` is `refuse`; or as the type's `plan`.
    """
    copies = find_copies(corpus, plan.rows, progress=progress)
    leaks = leaking_pairs(plan, copies)
    labels = corpus.column(card.label) if card.label in corpus.columns else [None] * len(corpus)
    equal = [copy for copy in copies if copy.kind != "near" and labels[copy.first] != labels[copy.second]]
    unsought = [
        f"{len(plan.rows):,} clips are more than {MOST_NEAR:,}: copies of equal bytes and samples were searched, not "
        "the same sound encoded again"
    ] * (len(plan.rows) > MOST_NEAR)
    if not leaks and not equal:
        return corpus, plan, {"said": unsought} if unsought else {}
    # The strongest kind of a clip that has several copies is set last: kinds are in the order of `_KINDS`.
    weakest_first = sorted(leaks, key=lambda leak: -list(_KINDS).index(leak[2].kind))
    kinds = {test: copy.kind for test, _, copy in weakest_first}
    files = corpus.column("file")
    tested = {row for fold in plan.folds for row in plan.rows[fold.test].tolist()} or set(plan.rows.tolist())
    facts: dict[str, Any] = {
        "clips": dict(Counter(kinds.values())),
        "of": len(tested),
        "pairs": [[files[test], files[other], copy.kind] for test, other, copy in leaks[:_NAMED]],
        "dropped": 0,
        "contradictory": len(equal),
        "labels": [[files[copy.first], files[copy.second]] for copy in equal[:_NAMED]],
        "said": unsought,
    }
    if leaks:
        test, other, _ = leaks[0]
        by_kind = ", ".join(
            f"{facts['clips'][name]} {words}" for name, words in _KINDS.items() if name in facts["clips"]
        )
        whose = "test clips are copies of training clips" if plan.folds else "clips are copies of others"
        found = f"{len(kinds)} of {len(tested)} {whose} ({by_kind}; such as {files[test]} of {files[other]})"
        if on_leak == "refuse":
            raise CorpusError(
                f"{found} in task {card.name!r}. Scores of copies are optimistic; expected none. Set --on-leak drop to "
                "evaluate without them, or --on-leak warn to evaluate with them"
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
            facts["said"].append(f"{found}: {len(gone)} clips were removed")
        else:
            facts["said"].append(f"{found}: the score is optimistic; --on-leak drop removes them")
    if equal:
        pair = equal[0]
        facts["said"].append(
            f"{len(equal)} pairs of equal clips have different labels, such as {files[pair.first]} and "
            f"{files[pair.second]}"
        )
    return corpus, plan, facts


def leaking_pairs(plan: TaskPlan, copies: list[Copy]) -> list[tuple[int, int, Copy]]:
    """Return (test row, training row, copy) of each pair that a fold has on both sides; rows are of the corpus.

    Without folds: of each pair the second row as the test row.
    """
    if not plan.folds:
        return [(copy.second, copy.first, copy) for copy in copies]
    found = []
    for fold in plan.folds:
        test = set(plan.rows[fold.test].tolist())
        known = set(plan.rows[np.concatenate([fold.train, fold.valid])].tolist())
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
