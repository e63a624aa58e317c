"""The curve over an encoder's layers: one probe fitted at each layer, the layer chosen on validation clips.

A curve of test scores invites quoting its maximum. Here each fold's validation clips choose the layer, and the score is
that of the chosen layers; the whole curve is reported with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from auricle.config import Config, nearest
from auricle.errors import ConfigError
from auricle.probes import LossConfig
from auricle.probes.registry import PROBES
from auricle.tasks.clips.fold_fits import clip_predictions, fit_fold
from auricle.tasks.folds import Fold, Plan, training_means
from auricle.tasks.shallow import SHALLOW_CLASSIFIERS
from auricle.tasks.targets import Targets
from auricle.tasks.task_type import Job, Kept, Outcome, fold_outcome
from auricle.tokens.token_set import TokenSet

_BLOCK = 256  # clips whose tokens are averaged at once


@dataclass(frozen=True)
class LayerCurveConfig(Config):
    """One probe fitted at every layer.

    Attributes:
        probe: name of a probe that reads one layer, or of a shallow classifier with a strength that validation clips
            choose. The clip vector of a layer is the mean of its valid tokens: an encoder's own pooling is made for its
            output only.
    """

    probe: str = "linear"

    def __post_init__(self) -> None:
        known = {name for name, config in PROBES.items() if config.reads == "tokens"}
        known |= {name for name, config in SHALLOW_CLASSIFIERS.items() if config.settings()}
        if self.probe not in known:
            raise ConfigError(
                f"layer_curve.probe is {self.probe!r}; expected a probe that reads one layer and is validated"
                f"{nearest(self.probe, known)}"
            )

    @property
    def inner(self) -> Config:
        """Settings of the probe."""
        return PROBES.get(self.probe) or SHALLOW_CLASSIFIERS[self.probe]


def layer_tokens(tokens: TokenSet) -> list[TokenSet]:
    """Return each stacked layer on its own, with the mean of its valid tokens as clip vector."""
    return [_with_means(layer) for layer in tokens.stack or (tokens,)]


def run_layer_curve(
    job: Job, probe: LayerCurveConfig, targets: Targets, plan: Plan, loss: LossConfig, settings: dict[str, Any]
) -> Outcome:
    """Fit a probe at every layer of every fold.

    Args:
        job: encoder, protocol and cache.
        probe: at each layer.
        targets: of the clips that could be read.
        plan: the folds.
        loss: of the probe.
        settings: of the outcome.
    """
    protocol, folds = job.protocol, job.readable(plan.folds)
    layers = layer_tokens(job.tokens(layers=True))
    seeds = protocol.seeds if probe.probe in PROBES else protocol.seeds[:1]
    total = len(folds) * len(layers)
    fits: list[list[Kept]] = []
    for f, fold in enumerate(folds):
        row: list[Kept] = []
        for tokens in layers:

            def fit(fold: Fold = fold, tokens: TokenSet = tokens, done: int = f * len(layers) + len(row)) -> Kept:
                def progress(share: float) -> None:
                    job.progress((done + share) / total)

                found = fit_fold(
                    probe.inner, tokens, targets, fold, seeds=seeds, loss=loss, progress=progress, **job.training
                )
                return found.pack()

            row.append(job.kept(f"fold-{f}-layer-{tokens.layer}", fit))
        fits.append(row)
    validation = np.array([[_validation(head) for head, _ in row] for row in fits])
    best = [choose(row) for row in validation]
    predictions = clip_predictions(job, targets, folds, [row[b] for row, b in zip(fits, best, strict=True)], seeds)
    metric = job.plan.headline(job.card) or predictions.metrics[0]
    curve = []
    for place, tokens in enumerate(layers):
        found = protocol.score(clip_predictions(job, targets, folds, [row[place] for row in fits], seeds), metric)
        curve.append(
            {
                "layer": tokens.layer,
                "value": found.value,
                "low": found.interval.low,
                "high": found.interval.high,
                "validation": float(validation[:, place].mean()),
                "chosen": sum(b == place for b in best),
            }
        )
    numbers = [layers[place].layer for place in best]
    notes = list(dict.fromkeys(note for row in fits for head, _ in row for note in head["notes"]))[:10]
    heads = []
    for row, place, number in zip(fits, best, numbers, strict=True):
        head = row[place][0]
        chosen = {**head["chosen"], "layer": number}
        heads.append({**head, "chosen": chosen, "tried": head["tried"] * len(layers), "notes": notes})
    details = {"layer_curve": curve, "layers_chosen": numbers}
    constant = predictions.constant(training_means(targets.truth, folds))
    return fold_outcome(
        predictions, folds, plan.folds, heads, settings, refit=protocol.refit, details=details, constant=constant
    )


def choose(validation: Sequence[float] | np.ndarray) -> int:
    """Return the index of the best validation score; of equal ones the last, which is nearest to the output.

    An undefined score (NaN) never wins over a defined one.
    """
    return max(range(len(validation)), key=lambda i: (-math.inf if math.isnan(validation[i]) else validation[i], i))


def _validation(head: dict[str, Any]) -> float:
    """Return the validation score of a fit: one number, or the mean over seeds that were searched separately."""
    found = head["chosen"].get("validation")
    values = [v for v in (found if isinstance(found, list) else [found]) if v is not None]
    return float(np.mean(values)) if values else math.nan


def _with_means(layer: TokenSet) -> TokenSet:
    n = len(layer)
    means = np.empty((n, layer.shape.width), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        batch = layer.batch(np.arange(start, min(start + _BLOCK, n)))
        weight = batch.valid.unsqueeze(-1).to(batch.x.dtype)
        means[start : start + _BLOCK] = ((batch.x * weight).sum(1) / weight.sum(1)).numpy()
    # One row a clip in both tables: they share their row numbers.
    return replace(layer, vectors=means, class_rows=layer.cls, row=np.arange(n, dtype=np.int64), stack=())
