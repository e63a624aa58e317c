"""Regression on frozen tokens: a number for each clip, by probes or by ridge regression in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from auricle.config import Config, Positive
from auricle.corpus.table import Corpus
from auricle.errors import AudioError, ConfigError, CorpusError
from auricle.probes import FittedProbe, Labelled, ProbeConfig, SearchConfig, fit_probe, get_loss
from auricle.probes.cost import head_macs
from auricle.probes.registry import PROBES
from auricle.probes.search.selection import default_metric, natural, score
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import Fold, plan_corpus, training_means
from auricle.tasks.regression.answers import RegressionPredictions
from auricle.tasks.regression.rule import RegressionRule
from auricle.tasks.shallow import LinearMap
from auricle.tasks.targets import Targets, labels_of
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, fold_outcome
from auricle.tasks.vectors import check_finite
from auricle.tokens.token_set import TokenSet
from auricle.words import counted, was

QUIETEST = -120.0  # dB re full scale; digital silence has no level
LEVEL_RATE = 16000


@dataclass(frozen=True)
class RidgeNumbersConfig(Config):
    """Ridge regression of the number on standardised clip vectors, in closed form.

    Attributes:
        strengths: penalties, in units of the number of known clips; validation clips choose by explained variance.
    """

    strengths: tuple[Positive, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def predict(
        self, known: NDArray[np.float32], truth: NDArray[np.float64], x: NDArray[np.float32], strength: float
    ) -> NDArray[np.float64]:
        """Fit known vectors `(m, D)` and numbers `(m,)`; return the numbers `(n,)` of others."""
        scaler = StandardScaler().fit(known)
        model = Ridge(alpha=strength * len(known)).fit(scaler.transform(known), truth)
        found: NDArray[np.float64] = np.asarray(model.predict(scaler.transform(x)), dtype=np.float64)
        return found

    def linear(self, known: NDArray[np.float32], truth: NDArray[np.float64], strength: float) -> LinearMap:
        """Fit known vectors `(m, D)` and numbers `(m,)`; return what predicts as a linear map."""
        scaler = StandardScaler().fit(known)
        model = Ridge(alpha=strength * len(known)).fit(scaler.transform(known), truth)
        weight = np.asarray(model.coef_, dtype=np.float64)[None] / scaler.scale_
        return LinearMap(weight, np.array([float(model.intercept_)]), np.asarray(scaler.mean_, dtype=np.float64))


class RegressionTask(TaskType):
    """Folds or a split as for labelled clips; probes minimise the squared error of the standardised number."""

    name: ClassVar[str] = RegressionRule.type_name
    probes: ClassVar[Mapping[str, Config]] = {**PROBES, "ridge": RidgeNumbersConfig()}
    default_probes: ClassVar[tuple[str, ...]] = ("ridge", "linear", "mhca")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        rule = card.rule_as(RegressionRule)
        rows, truth, notes = _measured(corpus) if rule.measured else _written(card, corpus)
        if len(np.unique(truth)) < 2:
            raise CorpusError(f"all {len(rows)} clips of task {card.name!r} have one number: nothing to predict")
        # Without classes there is nothing to stratify by, and no class can be absent.
        targets = Targets("multi", (), rows, np.zeros((len(rows), 0), dtype=bool))
        plan, groups = plan_corpus(card, targets, corpus, seed)
        all_notes = (*notes, *plan.notes)
        return TaskPlan(rows, plan.protocol, plan.description, groups, all_notes, (truth, plan), folds=plan.folds)

    def run(self, job: Job) -> Outcome:
        truth, plan = job.plan.payload
        known, folds = truth[job.present], job.readable(plan.folds)
        tokens = job.tokens(layers=self.layers(job.probe) == "all")
        seeds = job.protocol.seeds if isinstance(job.probe, ProbeConfig) else job.protocol.seeds[:1]
        parts = job.each_fold(folds, lambda fold, progress: _fit(job, tokens, known, fold, seeds, progress))
        rows, units = job.test_units(folds)
        predictions = RegressionPredictions(
            **units,
            seeds=tuple(seeds),
            truth=known[rows],
            predicted=np.concatenate([arrays["predicted"] for _, arrays in parts], axis=1),
            unit=job.card.rule_as(RegressionRule).unit,
        )
        constant = predictions.constant(training_means(known, folds))
        settings = {"probe": job.probe.to_json(), "loss": "mse", "search": job.training["search"].to_json()}
        return fold_outcome(
            predictions, folds, plan.folds, [head for head, _ in parts], settings, refit=True, constant=constant
        )


def _fit(
    job: Job,
    tokens: TokenSet,
    truth: NDArray[np.float64],
    fold: Fold,
    seeds: Sequence[int],
    progress: Callable[[float], None],
) -> Kept:
    """Choose the setting on validation clips, fit all known clips at that setting, predict the test clips."""
    known = np.concatenate([fold.train, fold.valid])
    if isinstance(job.probe, RidgeNumbersConfig):
        return _fit_ridge(job, job.probe, tokens, truth, fold, known)
    if not isinstance(job.probe, ProbeConfig):
        raise ConfigError(f"{type(job.probe).__name__} predicts no numbers; expected a probe or RidgeNumbersConfig")
    probe, loss = job.probe, job.protocol.loss or get_loss("mse")
    search = job.training["search"].replace(best_epoch=False)
    valid, stages = _labelled(tokens, truth, fold.valid), 1 + len(seeds)

    def fit(rows: NDArray[np.int64], config: SearchConfig, seed: int, stage: int) -> FittedProbe:
        return fit_probe(
            probe,
            _labelled(tokens, truth, rows),
            valid,
            classes=("value",),
            loss=loss,
            search=config,
            seed=seed,
            device=job.device,
            progress=lambda done, of: progress((stage + done / of) / stages),
        )

    found = fit(fold.train, search, seeds[0], 0)
    again = search.replace(lr=(found.trial.lr,), weight_decay=(found.trial.weight_decay,), halving=())
    fitted = [fit(known, again, seed, stage) for stage, seed in enumerate(seeds, 1)]
    job.keep_heads(fold.name, seeds, fitted, [{"unit": job.card.rule_as(RegressionRule).unit}] * len(seeds))
    test = tokens.select(fold.test)
    predicted = np.stack([f.predict(test)[:, 0].astype(np.float64) for f in fitted])
    chosen = {
        "fold": fold.name,
        "lr": found.trial.lr,
        "weight_decay": found.trial.weight_decay,
        "validation": found.validation,
        "metric": found.metric,
    }
    head = {"chosen": chosen, "tried": len(found.trials), "params": found.params, "notes": list(found.notes)}
    return {**head, "macs": head_macs(fitted[0].head, test)}, {"predicted": predicted}


def _fit_ridge(
    job: Job,
    probe: RidgeNumbersConfig,
    tokens: TokenSet,
    truth: NDArray[np.float64],
    fold: Fold,
    known: NDArray[np.int64],
) -> Kept:
    x = tokens.pooled.astype(np.float32)
    check_finite(x, "clip")
    metric = job.training["search"].metric or default_metric(False, regression=True)
    wanted = torch.from_numpy(truth[fold.valid, None])
    said = [probe.predict(x[fold.train], truth[fold.train], x[fold.valid], strength) for strength in probe.strengths]
    values = score(torch.from_numpy(np.stack(said)[..., None]), wanted, metric).tolist()
    tried = [
        {"setting": strength, "validation": natural(value, metric) if math.isfinite(value) else None}
        for strength, value in zip(probe.strengths, values, strict=True)
    ]
    best = tried[max(range(len(tried)), key=lambda i: values[i] if math.isfinite(values[i]) else -math.inf)]
    strength = float(best["setting"] or 0)
    predicted = probe.predict(x[known], truth[known], x[fold.test], strength)
    if job.keep is not None:
        unit = job.card.rule_as(RegressionRule).unit
        job.keep_heads(fold.name, (0,), [probe.linear(x[known], truth[known], strength)], [{"unit": unit}])
    chosen = {"fold": fold.name, **best, "metric": metric, "tried": tried}
    head = {"chosen": chosen, "tried": len(tried), "params": x.shape[1] + 1, "macs": x.shape[1], "notes": []}
    return head, {"predicted": predicted[None]}


def _labelled(tokens: TokenSet, truth: NDArray[np.float64], rows: NDArray[np.int64]) -> Labelled:
    return Labelled(tokens.select(rows), torch.from_numpy(truth[rows, None].astype(np.float32)))


def _written(card: TaskCard, corpus: Corpus) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Read the numbers of the card's column; clips without a number are excluded and counted."""
    rows, values, odd = [], [], []
    for row, cell in enumerate(labels_of(card, corpus)):
        try:
            value = float(cell)
        except (TypeError, ValueError):
            odd.append(repr(cell))
            continue
        if math.isfinite(value):
            rows.append(row)
            values.append(value)
        else:
            odd.append(repr(cell))
    if not rows:
        found = ", ".join(dict.fromkeys(odd[:3])) or "no clips"
        raise CorpusError(
            f"column {card.label!r} of corpus {corpus.name} holds no number (found {found}); name another with --label"
        )
    notes = (
        [
            f"{counted(len(odd), 'clip')} without a number in {card.label!r} {was(len(odd))} excluded "
            f"(the first: {odd[0]})"
        ]
        if odd
        else []
    )
    return np.array(rows, dtype=np.int64), np.array(values, dtype=np.float64), notes


def _measured(corpus: Corpus) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Measure each clip's level in dB re full scale; unreadable and silent clips are excluded."""
    rows, values, broken, silent = [], [], 0, 0
    for row in range(len(corpus)):
        try:
            wave = corpus.audio(row, LEVEL_RATE)
        except AudioError:
            broken += 1
            continue
        level = 10 * math.log10(max(float(np.mean(np.square(wave, dtype=np.float64))), 1e-30))
        if level < QUIETEST:
            silent += 1
            continue
        rows.append(row)
        values.append(level)
    if not rows:
        raise CorpusError(f"not one clip of corpus {corpus.name} has a level: {broken} unreadable, {silent} silent")
    counts = ((broken, "unreadable"), (silent, "silent"))
    notes = [f"{count} {why} clips have no level and were excluded" for count, why in counts if count]
    return np.array(rows, dtype=np.int64), np.array(values, dtype=np.float64), notes
