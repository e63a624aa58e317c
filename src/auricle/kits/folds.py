"""Training, validation and test clips by the protocol of a kit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.kits.protocols import ProtocolConfig
from auricle.tasks.folds import VALID, Fold, Plan
from auricle.tasks.targets import Targets

_ATTEMPTS = 100
_RANDOM_VALIDATION = (
    "validation clips are drawn without regard to their source: their scores are more optimistic than those of clips "
    "of other sources"
)


def kit_plan(protocol: ProtocolConfig, plan: Plan, targets: Targets, splits: Sequence[object], seed: int) -> Plan:
    """Divide the clips as a kit does.

    Args:
        protocol: of the kit.
        plan: the official split or folds, with the next fold (or clips held out here) as validation clips.
        targets: the clips that take part.
        splits: `(n,)` split name of each of them.
        seed: of random validation clips.

    Raises:
        CorpusError: no draw of validation clips holds every class.
    """
    if plan.protocol == "split" and protocol.split_test_validates:
        return _test_validates(
            protocol, plan, "the corpus's own split; all other clips train", "clips themselves select"
        )
    if plan.protocol == "split" and any(str(s).strip().lower() in VALID for s in splits):
        return plan
    if protocol.folds == "next_validates":
        return replace(plan, folds=_in_order_of_folds(plan)) if plan.protocol == "folds" else plan
    if protocol.folds == "test_validates" and plan.protocol == "folds":
        words = f"{_first_part(plan.description)}; all other folds train"
        return _test_validates(protocol, plan, words, "fold itself selects")
    if protocol.folds == "test_validates":
        return plan
    generator = np.random.default_rng(seed if protocol.valid_seed < 0 else protocol.valid_seed)
    drawn = []
    for fold in plan.folds:
        train, valid = _draw(_known(fold), targets, protocol, generator, fold.name)
        drawn.append(Fold(fold.name, train, valid, fold.test))
    drawn_share = f"{protocol.valid_share:.0%} of the training clips, drawn at random, validate"
    words = f"{_first_part(plan.description)}; {drawn_share}"
    return replace(plan, folds=tuple(drawn), description=words, notes=(*plan.notes, _RANDOM_VALIDATION))


def _known(fold: Fold) -> NDArray[np.int64]:
    return np.sort(np.concatenate([fold.train, fold.valid]))


def _test_validates(protocol: ProtocolConfig, plan: Plan, words: str, who: str) -> Plan:
    folds = tuple(Fold(f.name, _known(f), f.test, f.test) for f in plan.folds)
    # Neighbours have no epoch to select.
    words += "" if protocol.neighbours else f", and the test {who} the epoch"
    return replace(plan, folds=folds, description=words)


def _in_order_of_folds(plan: Plan) -> tuple[Fold, ...]:
    """Order training clips fold after fold, as a kit that does not shuffle reads them."""
    owner = {fold.name: set(fold.test.tolist()) for fold in plan.folds}
    ordered = []
    for fold in plan.folds:
        parts = [[r for r in fold.train.tolist() if r in mine] for mine in owner.values()]
        rows = np.array([r for part in parts for r in part], dtype=np.int64)
        # With two folds the training clips are part of the other one.
        ordered.append(replace(fold, train=rows if len(rows) == len(fold.train) else fold.train))
    return tuple(ordered)


def _draw(
    rows: NDArray[np.int64], targets: Targets, protocol: ProtocolConfig, generator: np.random.Generator, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    count = int(np.ceil(protocol.valid_share * len(rows)))
    wanted = targets.truth[rows].any(0)
    for _ in range(_ATTEMPTS if protocol.all_classes else 1):
        order = generator.permutation(rows)
        valid, train = order[:count], order[count:]
        if len(train) and (not protocol.all_classes or np.array_equal(targets.truth[valid].any(0), wanted)):
            return train, valid
    raise CorpusError(
        f"in {_ATTEMPTS} draws of {count} validation clips from the {len(rows)} training clips of fold {name} not one "
        f"held all {int(wanted.sum())} classes; protocol {protocol.name!r} needs that: add a split with "
        "validation clips, or choose another protocol"
    )


def _first_part(words: str) -> str:
    return words.split(";")[0]
