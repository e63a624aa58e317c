"""Regression on frozen tokens: a number a clip, by probes or by ridge regression in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import AudioError, ConfigError, CorpusError
from auricle.metrics.regression import r2
from auricle.probes import Labelled, ProbeConfig, fit_probe, get_loss
from auricle.probes.cost import head_macs
from auricle.probes.registry import PROBES
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import Fold, plan_folds
from auricle.tasks.regression.answers import RegressionPredictions, RegressionRule
from auricle.tasks.targets import Targets
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, cells, labels_of, source_groups
from auricle.tasks.vector_readers import check_finite
from auricle.tokens.token_set import TokenSet

QUIETEST = -120.0  # dB re full scale; digital silence has no level
LEVEL_RATE = 16000


@dataclass(frozen=True)
class RidgeNumbersConfig(Config):
    """Ridge regression of the number on standardised clip vectors, in closed form.

    Attributes:
        strengths: penalties, in units of the number of known clips; validation clips choose by explained variance.
    """

    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def predict(
        self, known: NDArray[np.float32], truth: NDArray[np.float64], x: NDArray[np.float32], strength: float
    ) -> NDArray[np.float64]:
        """Learn from known vectors `(m, D)` and numbers `(m,)`; return those `(n,)` of others."""
        scaler = StandardScaler().fit(known)
        model = Ridge(alpha=strength * len(known)).fit(scaler.transform(known), truth)
        found: NDArray[np.float64] = np.asarray(model.predict(scaler.transform(x)), dtype=np.float64)
        return found


class RegressionTask(TaskType):
    """Folds or a split as for labelled clips; probes minimise the squared error of the standardised number."""

    name: ClassVar[str] = "regression"
    probes: ClassVar[dict[str, Config]] = {**PROBES, "ridge": RidgeNumbersConfig()}
    default_probes: ClassVar[tuple[str, ...]] = ("ridge", "linear", "mhca")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Read or measure the numbers, and divide the clips.

        Raises:
            CorpusError: the column holds no numbers, or all are equal; or the folds don't fit.
        """
        rule = _rule(card)
        rows, truth, notes = _measured(corpus) if rule.measured else _written(card, corpus)
        if len(np.unique(truth)) < 2:
            raise CorpusError(f"all {len(rows)} clips of task {card.name!r} have one number: nothing to predict")
        # Without classes there is nothing to stratify by, and no class can be absent.
        targets = Targets("multi", (), rows, np.zeros((len(rows), 0), dtype=bool))
        groups = source_groups(card, corpus, rows)
        plan = plan_folds(
            card,
            targets,
            splits=cells(corpus, "split", rows),
            folds=cells(corpus, "fold", rows),
            groups=groups.tolist(),
            seed=seed,
        )
        return TaskPlan(rows, plan.protocol, plan.words, groups, (*notes, *plan.notes), (truth, plan))

    def layers(self, probe: Config) -> Literal["all"] | None:
        """Return `all` for probes that read layers."""
        return "all" if isinstance(probe, ProbeConfig) and probe.reads == "layers" else None

    def run(self, job: Job) -> Outcome:
        """Fit all folds and put their test clips in a row."""
        truth, plan = job.plan.payload
        here = job.here
        known, folds = truth[here], job.readable(plan.folds)
        tokens = job.tokens(layers=self.layers(job.probe) == "all")
        seeds = job.protocol.seeds if isinstance(job.probe, ProbeConfig) else job.protocol.seeds[:1]
        parts = []
        for place, fold in enumerate(folds):

            def fit(fold: Fold = fold, place: int = place) -> Kept:
                return _fit(job, tokens, known, fold, seeds, place / len(folds), 1 / len(folds))

            parts.append(job.kept(f"fold-{place}", fit))
            job.tell((place + 1) / len(folds))
        predictions = np.concatenate([fold.test for fold in folds])
        answers = RegressionPredictions(
            names=job.clip_names[here][predictions],
            group=job.plan.groups[here][predictions],
            fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
            seeds=tuple(seeds),
            truth=known[predictions],
            predicted=np.concatenate([arrays["predicted"] for _, arrays in parts], axis=1),
            unit=_rule(job.card).unit,
        )
        heads = [head for head, _ in parts]
        return Outcome(
            predictions=answers,
            fold_names=[fold.name for fold in folds],
            sizes=[[len(fold.train), len(fold.valid), len(fold.test)] for fold in folds],
            units_total=sum(len(fold.test) for fold in plan.folds),
            chosen=[head["chosen"] for head in heads],
            tried=heads[0]["tried"],
            params=heads[0]["params"],
            macs=heads[0]["macs"],
            settings={"reader": job.probe.to_json(), "loss": "mse", "search": job.protocol.search.to_json()},
            refit=True,
            notes=list(dict.fromkeys(note for head in heads for note in head["notes"])),
        )


def _fit(
    job: Job, tokens: TokenSet, truth: NDArray[np.float64], fold: Fold, seeds: Sequence[int], done: float, share: float
) -> Kept:
    """Choose the setting on validation clips, learn again from all known clips, answer for the test clips."""
    everything = np.concatenate([fold.train, fold.valid])
    if isinstance(job.probe, RidgeNumbersConfig):
        return _fit_ridge(job.probe, tokens, truth, fold, everything)
    if not isinstance(job.probe, ProbeConfig):
        raise ConfigError(f"{type(job.probe).__name__} predicts no numbers; expected a probe or RidgeNumbersConfig")
    probe, loss = job.probe, job.protocol.loss or get_loss("mse")
    search = job.protocol.search.replace(best_epoch=False)
    valid, stages = _labelled(tokens, truth, fold.valid), 1 + len(seeds)

    def fit(rows: NDArray[np.int64], config: Any, seed: int, stage: int) -> Any:
        return fit_probe(
            probe,
            _labelled(tokens, truth, rows),
            valid,
            classes=("value",),
            loss=loss,
            search=config,
            seed=seed,
            device=job.device,
            progress=lambda n, of: job.tell(done + share * (stage + n / of) / stages),
        )

    found = fit(fold.train, search, seeds[0], 0)
    again = search.replace(lr=(found.trial.lr,), weight_decay=(found.trial.weight_decay,), halving=())
    fitted = [fit(everything, again, seed, stage) for stage, seed in enumerate(seeds, 1)]
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
    probe: RidgeNumbersConfig,
    tokens: TokenSet,
    truth: NDArray[np.float64],
    fold: Fold,
    everything: NDArray[np.int64],
) -> Kept:
    x = tokens.pooled.astype(np.float32)
    check_finite(x, "clip")
    tried = []
    for strength in probe.strengths:
        value = r2(truth[fold.valid], probe.predict(x[fold.train], truth[fold.train], x[fold.valid], strength))
        tried.append({"setting": strength, "validation": value if math.isfinite(value) else None})
    best = max(tried, key=lambda t: -math.inf if t["validation"] is None else t["validation"])
    predicted = probe.predict(x[everything], truth[everything], x[fold.test], float(best["setting"] or 0))
    chosen = {"fold": fold.name, **best, "tried": tried}
    head = {"chosen": chosen, "tried": len(tried), "params": x.shape[1] + 1, "macs": x.shape[1], "notes": []}
    return head, {"predicted": predicted[None]}


def _labelled(tokens: TokenSet, truth: NDArray[np.float64], rows: NDArray[np.int64]) -> Labelled:
    return Labelled(tokens.select(rows), torch.from_numpy(truth[rows, None].astype(np.float32)))


def _written(card: TaskCard, corpus: Corpus) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Read the numbers of the card's column; cells that hold none are left out and counted."""
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
    notes = [f"{len(odd)} clips without a number in {card.label!r} were left out (the first: {odd[0]})"] if odd else []
    return np.array(rows, dtype=np.int64), np.array(values, dtype=np.float64), notes


def _measured(corpus: Corpus) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Measure each clip's level in dB re full scale; clips that can't be read, or are silent, are left out."""
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
    notes = [f"{count} {why} clips have no level and were left out" for count, why in counts if count]
    return np.array(rows, dtype=np.int64), np.array(values, dtype=np.float64), notes


def _rule(card: TaskCard) -> RegressionRule:
    rule: Any = card.rule
    if not isinstance(rule, RegressionRule):
        raise ConfigError(f"task {card.name!r} has the rule {type(rule).__name__}; expected RegressionRule")
    return rule
