"""Validation scores of many settings at once: accuracy and macro average precision."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from auricle.config import nearest
from auricle.errors import ConfigError

Metric = Literal["accuracy", "map"]


def default_metric(single: bool) -> Metric:
    """Accuracy for one label a clip, macro average precision for several."""
    return "accuracy" if single else "map"


def validate(metric: str, targets: Tensor) -> None:
    """Check that the metric is defined on the targets.

    Raises:
        ConfigError: the metric is unknown, does not fit the targets' form, or no clip has any label.
    """
    if metric not in get_args(Metric):
        raise ConfigError(f"unknown selection metric {metric!r}{nearest(metric, get_args(Metric))}")
    if metric == "accuracy" and targets.dim() != 1:
        raise ConfigError("accuracy selects among single-label probes; these targets are multi-label: use 'map'")
    if targets.dim() == 2 and not bool((targets > 0).any()):
        raise ConfigError("no validation clip has any label, so no setting can be chosen; enlarge the validation set")


def score(logits: Tensor, targets: Tensor, metric: str) -> Tensor:
    """Score each setting; NaN logits score minus infinity.

    Args:
        logits: `(S, n, C)`.
        targets: `(n,)` int64 or `(n, C)` zeros and ones.
        metric: `accuracy` or `map`.

    Returns:
        `(S,)` float64.
    """
    if metric == "accuracy":
        value = (logits.argmax(-1) == targets).double().mean(1)
    else:
        y = targets if targets.dim() == 2 else torch.nn.functional.one_hot(targets, logits.shape[-1])
        value = mean_average_precision(logits, y)
    return value.masked_fill(~logits.isfinite().all(-1).all(-1), float("-inf"))


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
    last = torch.ones_like(x, dtype=torch.bool)
    last[:, :-1] = x[:, :-1] != x[:, 1:]
    place = torch.where(last, torch.arange(n, device=x.device).view(1, n, 1), n)
    place = place.flip(1).cummin(1).values.flip(1)
    precision = (found / rank).gather(1, place)
    total = hits.sum(1)
    ap = (precision * hits).sum(1) / total.clamp(min=1)
    present = total > 0
    return (ap * present).sum(1) / present.sum(1).clamp(min=1)
