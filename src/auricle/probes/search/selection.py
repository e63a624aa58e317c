"""Validation scores of many settings at once, to choose among them.

Higher is better throughout: errors (`mae`, `rmse`) have a minus sign, which `natural` removes.

Letters in shapes: S settings, n clips, C classes, K target dimensions.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from auricle.config import nearest
from auricle.errors import ConfigError

Metric = Literal["accuracy", "balanced_accuracy", "macro_f1", "map", "auc", "r2", "mae", "rmse"]
OF_ONE_LABEL = ("accuracy", "balanced_accuracy", "macro_f1")
OF_LABELS = ("map", "auc")
OF_NUMBERS = ("r2", "mae", "rmse")
ERRORS = ("mae", "rmse")


def default_metric(single: bool, regression: bool = False) -> Metric:
    """Return `accuracy` for one label a clip, `map` for several, `r2` for numbers."""
    if regression:
        return "r2"
    return "accuracy" if single else "map"


def selects(headline: str) -> Metric | None:
    """Return the metric that selects what a headline metric scores; None where that is `default_metric`, or none does.

    Examples:
        >>> selects("balanced_accuracy"), selects("macro_auc"), selects("mae_db"), selects("accuracy")
        ('balanced_accuracy', 'auc', 'mae', None)
    """
    own: dict[str, Metric] = {"balanced_accuracy": "balanced_accuracy", "macro_f1": "macro_f1", "macro_auc": "auc"}
    errors: dict[str, Metric] = {"mae": "mae", "mae_semitones": "mae", "mae_db": "mae", "rmse": "rmse"}
    return (own | errors).get(headline)


def natural(value: float, metric: str) -> float:
    """Return a validation score as usually stated: errors without the minus sign.

    Examples:
        >>> natural(-0.5, "mae"), natural(0.5, "r2")
        (0.5, 0.5)
    """
    return -value if metric in ERRORS else value


def validate(metric: str, targets: Tensor, regression: bool = False) -> None:
    """Check that the metric is defined on the targets.

    Args:
        metric: its name.
        targets: `(n,)` int64 class numbers, `(n, C)` zeros and ones, or `(n, K)` numbers.
        regression: the targets are numbers.

    Raises:
        ConfigError: the metric is unknown, does not fit the targets' form, or is undefined on every class or target.
    """
    if metric not in get_args(Metric):
        raise ConfigError(f"unknown selection metric {metric!r}{nearest(metric, get_args(Metric))}")
    if regression != (metric in OF_NUMBERS):
        kind, known = ("numbers", OF_NUMBERS) if regression else ("labels", (*OF_ONE_LABEL, *OF_LABELS))
        raise ConfigError(f"{metric!r} can't select among probes of {kind}; use one of {', '.join(known)}")
    if regression:
        if metric == "r2" and not bool((targets != targets[:1]).any()):
            raise ConfigError("every validation clip has the same target, so R2 is undefined: use 'mae', or more clips")
        return
    if metric in OF_ONE_LABEL and targets.dim() != 1:
        raise ConfigError(f"{metric} selects among single-label probes; these targets are multi-label: use 'map'")
    if targets.dim() == 2 and not bool((targets > 0).any()):
        raise ConfigError("no validation clip has any label, so no setting can be chosen; enlarge the validation set")
    if metric == "auc":
        alike = targets if targets.dim() == 1 else targets > 0
        if not bool((alike != alike[:1]).any()):
            raise ConfigError(
                "no class has both positive and negative validation clips, so the area under the ROC curve is "
                "undefined; enlarge the validation set, or select by another metric"
            )


def score(logits: Tensor, targets: Tensor, metric: str) -> Tensor:
    """Score each setting; NaN logits score minus infinity.

    Args:
        logits: `(S, n, C)`, or `(S, n, K)` predicted numbers.
        targets: `(n,)` int64, `(n, C)` zeros and ones, or `(n, K)` numbers.
        metric: its name.

    Returns:
        `(S,)` float64, higher is better.
    """
    if metric in OF_ONE_LABEL:
        value = _of_one_label(logits.argmax(-1), targets, logits.shape[-1], metric)
    elif metric in OF_LABELS:
        y = targets if targets.dim() == 2 else torch.nn.functional.one_hot(targets, logits.shape[-1])
        value = mean_average_precision(logits, y) if metric == "map" else macro_auc(logits, y)
    else:
        value = _of_numbers(logits.double(), targets.double(), metric)
    return value.masked_fill(~logits.isfinite().all(-1).all(-1), float("-inf"))


def _of_one_label(said: Tensor, targets: Tensor, classes: int, metric: str) -> Tensor:
    """Accuracy, mean recall over the classes in truth, or mean F1 over those in truth or predictions, `(S,)`."""
    if metric == "accuracy":
        return (said == targets).double().mean(1)
    one_hot = torch.nn.functional.one_hot
    right = one_hot(said, classes).double().mul_(one_hot(targets, classes)).sum(1)
    true = torch.bincount(targets, minlength=classes).double()
    if metric == "balanced_accuracy":
        return (right / true.clamp(min=1)).sum(1) / (true > 0).sum()
    total = true + one_hot(said, classes).sum(1)
    return (2 * right / total.clamp(min=1)).sum(1) / (total > 0).sum(1)


def _of_numbers(said: Tensor, targets: Tensor, metric: str) -> Tensor:
    """R2 over the target dimensions that vary, or the negative error over all of them, `(S,)`."""
    wrong = said - targets
    if metric == "mae":
        return -wrong.abs().mean((1, 2))
    if metric == "rmse":
        return -wrong.square().mean((1, 2)).sqrt()
    spread = (targets - targets.mean(0)).square().sum(0)
    varies = (targets != targets[:1]).any(0)
    return (1 - wrong[..., varies].square().sum(1) / spread[varies]).mean(1)


def mean_average_precision(logits: Tensor, y: Tensor) -> Tensor:
    """Average precision of each class, averaged over the classes that have a positive clip, `(S,)` float64.

    Equal scores count as one threshold, as in scikit-learn.
    """
    S, n, C = logits.shape
    x, order = logits.sort(dim=1, descending=True, stable=True)
    hits = (y > 0).expand(S, n, C).gather(1, order).double()
    found = hits.cumsum(1)
    rank = torch.arange(1, n + 1, device=x.device, dtype=torch.float64).view(1, n, 1)
    # All clips of one score enter together: precision is read at the last clip of each run of equal scores.
    precision = (found / rank).gather(1, _end_of_run(x))
    total = hits.sum(1)
    ap = (precision * hits).sum(1) / total.clamp(min=1)
    present = total > 0
    return (ap * present).sum(1) / present.sum(1).clamp(min=1)


def macro_auc(logits: Tensor, y: Tensor) -> Tensor:
    """Area under the ROC curve, averaged over the classes with both kinds of clips, `(S,)` float64.

    It is the share of pairs of a positive and a negative clip that are ordered correctly; a tie counts half.
    """
    S, n, C = logits.shape
    x, order = logits.sort(dim=1, stable=True)
    hits = (y > 0).expand(S, n, C).gather(1, order).double()
    below = (1 - hits).cumsum(1)
    end = _end_of_run(x)
    # A run of equal scores begins after the previous run's end; negatives of the run itself count half.
    upto = below.gather(1, end)
    first = torch.ones_like(x, dtype=torch.bool)
    first[:, 1:] = x[:, 1:] != x[:, :-1]
    place = torch.arange(n, device=x.device).view(1, n, 1)
    begin = torch.where(first, place, 0).cummax(1).values
    before = torch.where(begin > 0, below.gather(1, (begin - 1).clamp(min=0)), 0.0)
    positive, negative = hits.sum(1), (1 - hits).sum(1)
    area = (hits * (before + upto) / 2).sum(1) / (positive * negative).clamp(min=1)
    both = (positive > 0) & (negative > 0)
    return (area * both).sum(1) / both.sum(1).clamp(min=1)


def _end_of_run(x: Tensor) -> Tensor:
    """Place of the last of each run of equal values in sorted `x (S, n, C)`, int64 of the same shape."""
    n = x.shape[1]
    last = torch.ones_like(x, dtype=torch.bool)
    last[:, :-1] = x[:, :-1] != x[:, 1:]
    place = torch.where(last, torch.arange(n, device=x.device).view(1, n, 1), n)
    return place.flip(1).cummin(1).values.flip(1)
