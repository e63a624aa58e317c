"""Checks of a probe's targets before training, and notes on them for its score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes.contract import Labelled
from auricle.probes.losses import LossConfig
from auricle.probes.search.selection import validate


def check_targets(
    train: Labelled, valid: Labelled | None, classes: Sequence[str], loss: LossConfig, metric: str
) -> None:
    """Refuse targets that no probe can learn from, or that can't choose among settings.

    Raises:
        ConfigError: targets, loss, classes and metric do not fit each other; the training clips are all of one class
            (or have no label, or one number); a target is not finite.
    """
    C, fewest = len(classes), 2 if loss.single else 1
    if fewest > C:
        raise ConfigError(f"found the classes {list(classes)}; loss {loss.name!r} needs at least {fewest}")
    if valid is not None and (train.tokens.shape != valid.tokens.shape or train.tokens.encoder != valid.tokens.encoder):
        raise ConfigError("training and validation tokens come from different encoders; extract both with one encoder")
    for name, part in (("training", train), ("validation", valid)):
        if part is not None:
            _check_form(name, part.targets, C, loss)
    _check_content(train.targets, classes, loss)
    validate(metric, train.targets if valid is None else valid.targets, loss.regression)


def label_notes(train: Labelled, valid: Labelled | None, classes: Sequence[str], loss: LossConfig) -> tuple[str, ...]:
    """Return remarks on odd labels that are no reason to refuse them."""
    if loss.regression:
        return ()
    C = len(classes)
    taught = _counts(train.targets, C)
    notes = []
    if absent := [name for name, count in zip(classes, taught.tolist(), strict=True) if count == 0]:
        notes.append(f"no training clip shows {_listed(absent)}: a probe can't learn it")
    if not loss.single:
        full = [name for name, count in zip(classes, taught.tolist(), strict=True) if count == len(train.targets)]
        if full:
            notes.append(f"every training clip shows {_listed(full)}: a probe can't learn its absence")
    if valid is not None:
        asked = _counts(valid.targets, C)
        if loss.single and int((asked > 0).sum()) == 1:
            only = classes[int(asked.argmax())]
            notes.append(f"all {len(valid.targets)} validation clips are of class {only!r}: selection on them is poor")
    return tuple(notes)


def _check_form(name: str, targets: Tensor, classes: int, loss: LossConfig) -> None:
    if loss.single:
        whole = not targets.is_floating_point()
        if targets.dim() != 1 or not whole or int(targets.min()) < 0 or int(targets.max()) >= classes:
            raise ConfigError(
                f"loss 'ce' expects {name} targets (n,) in 0 ... {classes - 1}, found {tuple(targets.shape)} "
                f"{str(targets.dtype).removeprefix('torch.')} from {targets.min():g} to {targets.max():g}"
            )
        return
    if tuple(targets.shape[1:]) != (classes,):
        raise ConfigError(f"loss {loss.name!r} expects {name} targets (n, {classes}), found {tuple(targets.shape)}")
    if not bool(torch.isfinite(targets).all()):
        count = int((~torch.isfinite(targets)).any(1).sum())
        raise ConfigError(f"{count} of {len(targets)} {name} targets are not finite; leave those clips out")


def _check_content(targets: Tensor, classes: Sequence[str], loss: LossConfig) -> None:
    if loss.regression:
        if not bool((targets != targets[:1]).any()):
            raise ConfigError(
                f"all {len(targets)} training clips have the same target; there is nothing to learn from them"
            )
        return
    if loss.single and bool((targets == targets[0]).all()):
        raise ConfigError(
            f"all {len(targets)} training clips are of class {classes[int(targets[0])]!r}; a probe needs clips of at "
            "least two classes: correct the split or the folds"
        )
    if not loss.single and not bool((targets > 0).any()):
        raise ConfigError(
            f"none of {len(targets)} training clips has any label; there is nothing to learn: correct the split"
        )


def _counts(targets: Tensor, classes: int) -> Tensor:
    """Clips that show each class, `(C,)`."""
    if targets.dim() == 1:
        return torch.bincount(targets.cpu(), minlength=classes)
    return (targets > 0).sum(0).cpu()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(n) for n in names[:6]) + (f" and {len(names) - 6} more classes" if len(names) > 6 else "")
