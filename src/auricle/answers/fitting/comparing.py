"""Models that compare: anomalies with normal clips, and clips of one identity with clips of another."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta

from auricle.answers.fitting.setup import Fitted, Setup, measured
from auricle.corpus.columns import split_labels
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.metrics.ranking import auc
from auricle.models.vector_heads import AnomalyHead, VerificationHead
from auricle.probes.normal import NearestNormalConfig, NormalModelConfig
from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import assign_folds
from auricle.tasks.targets import cells, clip_names, source_groups
from auricle.tasks.task_type import TaskPlan
from auricle.tasks.vectors import COSINES, CosineConfig
from auricle.tasks.verification.answers import VerificationPredictions
from auricle.tasks.verification.rule import VerificationRule
from auricle.words import counted

FALSE_ALARMS = 0.05
_FOLDS = 5
_EVERY = "normal"  # name of the one class where no column divides the clips
Floats = NDArray[np.float64]


def plan_normal(card: TaskCard, corpus: Corpus) -> TaskPlan:
    """Return the clips of an anomaly task: the normal ones, and those that are known to be none.

    Without `rule.normal` every clip is taken as normal.

    Raises:
        CorpusError: no clip has the normal label, or the column of machines is missing.
    """
    rule = card.rule_as(AnomalyRule)
    rows = np.arange(len(corpus), dtype=np.int64)
    labelled = card.label in corpus.columns
    labels = [split_labels(None if c is None else str(c)) for c in corpus.column(card.label)] if labelled else []
    normal = np.ones(len(corpus), dtype=bool)
    notes: tuple[str, ...] = ()
    if rule.normal:
        normal = np.array([bool(set(one) & set(rule.normal)) for one in labels] or [False] * len(corpus), dtype=bool)
        if not normal.any():
            known = sorted({name for one in labels for name in one})
            wanted, listed = " or ".join(rule.normal), ", ".join(known[:10]) or "no label"
            raise CorpusError(f"no clip has the normal label {wanted!r}; found {listed}; name another --rule.normal")
    else:
        notes = (
            "every clip was taken as normal; set --rule.normal to the label of the normal ones where some are not",
        )
    if rule.domain:
        corpus.column(rule.domain)  # refuses a column that is missing
    groups = source_groups(card, corpus, rows)
    description = f"{counted(int(normal.sum()), 'normal clip')}, divided by source into {_FOLDS} parts"
    return TaskPlan(rows, "normal", description, groups, notes, normal)


def fit_anomaly(setup: Setup) -> Fitted:
    """Fit a model of normal clips for each machine, with a threshold for a stated rate of false alarms.

    Normal clips are divided by source; each part is scored by a model of the others. The threshold is the score that
    the stated share of these scores exceeds, with the correction that makes the rate hold for the next clip.

    Raises:
        CorpusError: a machine has fewer than two normal clips.
        ConfigError: the rate is no share, or the probe is no model of normal clips.
    """
    asked = setup.options.get("false_alarms")
    rate = FALSE_ALARMS if asked is None else float(asked)
    if not 0 < rate < 1:
        raise ConfigError(f"found --false-alarms {rate:g}; expected a share between 0 and 1")
    name, probe = next(iter((setup.probes or {"nearest": NearestNormalConfig()}).items()))
    if not isinstance(probe, NormalModelConfig):
        raise ConfigError(f"probe {name!r} is no model of normal clips; expected nearest or gaussian")
    here, rule = setup.present, setup.card.rule_as(AnomalyRule)
    rows, groups, normal = setup.plan.rows[here], setup.groups, setup.plan.payload[here]
    x = setup.tokens().pooled.astype(np.float32)
    domains = np.array([_EVERY] * len(rows), dtype=np.str_)
    if rule.domain:
        domains = np.array([str(value) for value in cells(setup.corpus, rule.domain, rows)], dtype=np.str_)
    classes = tuple(map(str, np.unique(domains[normal])))
    if not classes:
        raise CorpusError("no normal clip can be read; repair the corrupt recordings that `auricle corpus scan` lists")
    generator, notes = np.random.default_rng(setup.seed), []
    thresholds, per_class, alarms, truth, scores = [], [], [], [], []
    for place, own in enumerate(classes):
        mine, odd = np.flatnonzero(normal & (domains == own)), np.flatnonzero(~normal & (domains == own))
        held, by_fold, others = _held_out(probe, x, mine, odd, groups, generator, own)
        thresholds.append(_threshold(held, rate))
        if len(held) < math.ceil(1 / rate) - 1:
            notes.append(
                f"{own}: {counted(len(held), 'normal clip')} are too few for a rate of {rate:g}; the threshold is the "
                f"highest of their scores, and takes {math.ceil(1 / rate) - 1} to keep the rate"
            )
        false = _alarms(held, by_fold, rate)
        alarms.append(false)
        fact = {"class": own, "threshold": thresholds[-1], "normal": len(mine), "false_alarms": float(false.mean())}
        if len(odd):
            truth.append(np.concatenate([np.zeros(len(mine), bool), np.ones(len(odd), bool)]))
            scores.append(np.concatenate([held, others]))
            fact |= {
                "anomalous": len(odd),
                "auc": float(auc(truth[-1], scores[-1])),
                "found": float((others >= thresholds[-1]).mean()),
            }
        per_class.append(fact)
        setup.progress((place + 1) / len(classes))
    kept = np.flatnonzero(normal)
    head = AnomalyHead(
        kind="anomaly",
        classes=classes,
        thresholds=tuple(thresholds),
        segment=setup.segment,
        details={"false_alarms": rate, "domain": rule.domain},
        model=probe,
        normal=torch.from_numpy(x[kept]),
        domain=tuple(classes.index(str(name)) for name in domains[kept]),
        names=tuple(clip_names(setup.corpus, rows[kept]).tolist()),
        on=setup.encoder.fingerprint,
    )
    facts = {
        "clips": len(kept),
        "sources": len(np.unique(groups[kept])),
        "probe": {"name": name, "settings": probe.to_json()},
        "goal": f"false alarms in {rate:g} of normal clips",
        "per_class": per_class,
        "expected": {"false_alarms": _with_interval(np.concatenate(alarms)), "asked": rate},
        "used": (
            f"normal clips only: in {_FOLDS} rounds, models of the other sources scored those of one part; thresholds "
            "rest on all these scores, the expected false alarms on thresholds of the other parts; the kept model has "
            "all normal clips; clips that are no normal ones measured the AUC and nothing else"
        ),
    }
    return Fitted(head, facts, tuple(notes))


def _held_out(
    probe: NormalModelConfig,
    x: NDArray[np.float32],
    mine: NDArray[np.int64],
    odd: NDArray[np.int64],
    groups: NDArray[np.str_],
    generator: np.random.Generator,
    name: str,
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Return scores of normal clips by models of the other parts, the parts, and mean scores of the other clips."""
    if len(mine) < 2:
        raise CorpusError(f"{name!r} has {counted(len(mine), 'normal clip')} to learn from; expected at least 2")
    sources = groups[mine] if len(np.unique(groups[mine])) >= 2 else np.arange(len(mine)).astype(str)
    parts = min(_FOLDS, len(np.unique(sources)))
    fold = assign_folds(np.ones((len(mine), 1), bool), sources, parts, generator)
    held, others = np.empty(len(mine)), np.zeros(len(odd))
    for part in range(parts):
        score = probe.fit(x[mine[fold != part]])
        held[fold == part] = score(x[mine[fold == part]])
        if len(odd):
            others += score(x[odd]) / parts
    return held, fold, others


def _threshold(scores: Floats, rate: float) -> float:
    """Return the least number above all but a share of the scores; above the highest where they are too few."""
    rank = min(math.ceil((len(scores) + 1) * (1 - rate) - 1e-9), len(scores))
    return float(np.nextafter(np.float32(np.sort(scores)[rank - 1]), np.float32(np.inf)))


def _alarms(scores: Floats, fold: NDArray[np.int64], rate: float) -> NDArray[np.bool_]:
    """Return which normal clips are false alarms at the threshold of the other parts."""
    found = np.zeros(len(scores), dtype=bool)
    for part in np.unique(fold):
        found[fold == part] = scores[fold == part] >= _threshold(scores[fold != part], rate)
    return found


def _with_interval(hits: NDArray[np.bool_]) -> dict[str, float]:
    """Return a share with its exact 95 % interval (Clopper and Pearson)."""
    k, n = int(hits.sum()), len(hits)
    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
    return {"value": k / n, "low": low, "high": high, "clips": n}


def fit_verification(setup: Setup) -> Fitted:
    """Fit the cosine of clip vectors with a threshold, and enrol every identity of the corpus.

    The identities of the trials are halved: one half chooses preparation and threshold, the other measures.

    Raises:
        CorpusError: the trials of a half are all of one kind.
        ConfigError: the rate is no share, or the probe is no cosine.
    """
    trials, count, identities = setup.plan.payload
    rate = setup.options.get("false_alarms")
    if rate is not None and not 0 < rate < 1:
        raise ConfigError(f"found --false-alarms {rate:g}; expected a share between 0 and 1")
    here = setup.present
    x = np.zeros((len(here), setup.encoder.pooled_width), dtype=np.float32)
    x[here] = setup.tokens().pooled
    known = np.flatnonzero(here & (np.arange(len(here)) >= count))
    place = {int(row): i for i, row in enumerate(setup.plan.rows[:count])}
    sides = [np.array([place[int(r)] for r in rows]) for rows in (trials.enroll, trials.test)]
    able = here[sides[0]] & here[sides[1]]
    first, second, target = sides[0][able], sides[1][able], trials.target[able]
    names = np.unique(identities[:count])
    chosen = np.random.default_rng(setup.seed).permutation(names)[: (len(names) + 1) // 2]
    inside = np.isin(identities[first], chosen).astype(int) + np.isin(identities[second], chosen)
    choosing, testing = inside == 2, inside == 0
    for half in (choosing, testing):
        if not target[half].any() or target[half].all():
            raise CorpusError(
                f"half of the {len(names)} identities have no trials of both kinds; expected at least two identities "
                "with two clips each in each half: add clips or identities"
            )
    probes = setup.probes or {name: COSINES[name] for name in setup.kind.usual(setup.plan)}
    options: dict[str, tuple[float, VerificationHead, Floats]] = {}
    for name, probe in probes.items():
        if not isinstance(probe, CosineConfig):
            raise ConfigError(f"probe {name!r} is no cosine; expected one of {', '.join(COSINES)}")
        learnt = probe.learnt(x[known if probe.learns else known[:0]], identities[known])
        mean, change = (None, None) if learnt is None else map(torch.from_numpy, learnt)
        head = VerificationHead(
            kind="verification", classes=(), segment=setup.segment, mean=mean, change=change,
            on=setup.encoder.fingerprint,
        )  # fmt: skip
        scores = head.similarity(x[first], x[second])
        options[name] = _error_rate(scores[choosing], target[choosing])[0], head, scores
    best = min(options, key=lambda name: options[name][0])
    _, head, scores = options[best]
    accept = _error_rate(scores[choosing], target[choosing])[1]
    if rate is not None:
        accept = _threshold(scores[choosing & ~target], rate)
    head = replace(head, accept=accept)
    for name in np.unique(identities):
        mine = here & (identities == name)
        if mine.any():
            head = head.enrol(str(name), x[mine])
    clips = clip_names(setup.corpus, setup.plan.rows)
    predictions = VerificationPredictions(
        names=np.array([f"{clips[a]} | {clips[b]}" for a, b in zip(first[testing], second[testing], strict=True)]),
        group=identities[first[testing]],
        fold=np.zeros(int(testing.sum()), dtype=np.int64),
        seeds=(0,),
        target=target[testing],
        scores=scores[testing][None],
        target_prior=setup.card.rule_as(VerificationRule).target_prior,
    )
    said = scores[testing] >= accept
    expected = measured(setup, predictions)
    expected |= {
        "false_accepts": _with_interval(said[~target[testing]]),
        "misses": _with_interval(~said[target[testing]]),
    }
    facts: dict[str, Any] = {
        "clips": int(here.sum()),
        "identities": len(head.classes),
        "probe": {
            "name": best,
            "settings": probes[best].to_json(),
            "candidates": {name: value for name, (value, _, _) in options.items()},
            "metric": "equal error rate",
        },
        "goal": "equal error rates" if rate is None else f"false accepts in {rate:g} of trials",
        "accept": accept,
        "expected": expected,
        "used": (
            f"trials among {counted(len(chosen), 'identity')} chose preparation and threshold; trials among the other "
            f"{len(names) - len(chosen)} measured the expected performance and nothing else; every identity is enrolled"
        ),
    }
    return Fitted(head, facts)


def _error_rate(scores: Floats, target: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the rate at which misses and false accepts are nearest to each other, and the score where they are."""
    cuts = np.unique(scores)
    misses = np.searchsorted(np.sort(scores[target]), cuts) / target.sum()
    accepts = 1 - np.searchsorted(np.sort(scores[~target]), cuts) / (~target).sum()
    best = int(np.abs(misses - accepts).argmin())
    return float(misses[best] + accepts[best]) / 2, float(cuts[best])
