"""Labelled clips: probe, setting, calibration and thresholds by validation clips; performance by test clips."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.answers.fitting.calibrating import calibrate, reliability
from auricle.answers.fitting.goals import choose_thresholds, decided, decision_scores
from auricle.answers.fitting.setup import Fitted, Setup, measured
from auricle.answers.fitting.trainers import Chosen, ClipTrainer, usual_setting
from auricle.config import Config
from auricle.probes import ProbeConfig, get_loss
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.folds import Fold
from auricle.tasks.targets import Targets, clip_names
from auricle.words import counted

FEW = 50  # labelled clips of the rarest class below which probes of tokens have too little to learn from
FEW_PROBES = ("logistic", "centroid")


@dataclass(frozen=True)
class _Round:
    """One division: what each probe chose, and what the best of them scored on the test clips."""

    options: dict[str, Chosen]
    best: str
    raw: NDArray[np.float32]
    scores: NDArray[np.float32]
    said: NDArray[np.bool_]


def fit_clips(setup: Setup) -> Fitted:
    """Fit a head to labelled clips.

    Raises:
        CorpusError: a side of a fold has no clip that can be read.
        ConfigError: a probe keeps no head.
    """
    planned: Targets = setup.plan.payload[0]
    here = setup.present
    targets = replace(planned, rows=planned.rows[here], truth=planned.truth[here])
    probes, few = _candidates(setup, targets)
    layered = any(isinstance(probe, ProbeConfig) and probe.reads == "layers" for probe in probes.values())
    trainer = ClipTrainer(
        tokens=setup.tokens(),
        targets=targets,
        loss=get_loss(setup.card.training_loss(targets.kind)),
        search=setup.search.by(setup.plan.headline(setup.card)),
        device=setup.device,
        segment=setup.segment,
        seed=setup.seed,
        layers=setup.tokens(layers=True) if layered else None,
    )
    folds = setup.folds
    rounds = []
    for number, fold in enumerate(folds):

        def report(share: float, number: int = number) -> None:
            setup.progress((number + share) / (len(folds) + 1))

        rounds.append(_round(setup, trainer, probes, fold, report))
    name, means = _best(rounds)
    mine = [one.options[name] for one in rounds]
    setting = usual_setting([one.setting for one in mine], [one.validation for one in mine])
    single = targets.kind == "single"
    held = np.concatenate([fold.valid for fold in folds])
    raw = np.concatenate([trainer.scores(one.head, fold.valid) for one, fold in zip(mine, folds, strict=True)])
    truth, groups = targets.truth[held], setup.groups
    calibration, calibrated = calibrate(raw, truth, groups[held], single=single, seed=setup.seed)
    final = setup.final()
    head = trainer.at(
        probes[name], final, setting, lambda share: setup.progress((len(folds) + share) / (len(folds) + 1))
    )
    thresholds, reached = choose_thresholds(
        replace(head, calibration=calibration).finished(torch.from_numpy(raw)).numpy(),
        truth,
        setup.goal,
        targets.classes,
        single=single,
    )
    details = {"goal": str(setup.goal)}
    head = replace(head, calibration=calibration, thresholds=thresholds, details=details)
    counts = {label: int(n) for label, n in zip(targets.classes, targets.truth[final].sum(0), strict=True)}
    facts = {
        "clips": len(final),
        "labelled": counts,
        "sources": len(np.unique(groups[final])),
        "probe": {
            "name": name,
            "settings": probes[name].to_json(),
            "setting": list(setting),
            "candidates": means,
            "metric": mine[0].metric,
            "chosen_by_round": [one.best for one in rounds],
        },
        **({"few_labels": few} if few else {}),
        "goal": str(setup.goal),
        "thresholds": reached,
        "calibration": calibrated,
        "expected": _expected(setup, targets, folds, rounds),
    }
    notes = [note for one in mine for note in one.notes]
    notes += [
        f"class {fact['class']!r} does not reach {setup.goal} on the validation clips"
        for fact in reached
        if not fact["reached"]
    ]
    return Fitted(head, facts, tuple(dict.fromkeys(notes)))


def _candidates(setup: Setup, targets: Targets) -> tuple[dict[str, Config], str]:
    """Return the probes to choose from, and why they are those of few labels ("" where they are not)."""
    least = int(targets.truth.sum(0).min())
    if setup.probes:
        return setup.probes, ""
    names: tuple[str, ...] = FEW_PROBES
    few = (
        f"the rarest class has {counted(least, 'labelled clip')}, fewer than {FEW}: regularised linear classifiers and "
        "prototypes of the clip vector are tried, no probe of tokens"
    )
    if least >= FEW:
        names, few = (*setup.kind.usual(setup.plan), "logistic"), ""
    return dict(setup.kind.probe(name) for name in names), few


def _round(setup: Setup, trainer: ClipTrainer, probes: dict[str, Config], fold: Fold, report: Any) -> _Round:
    steps = len(probes) + 1
    options = {
        name: trainer.choose(
            probe,
            fold.train,
            fold.valid,
            lambda share, done=done: report((done + share) / steps),  # type: ignore[misc]
        )
        for done, (name, probe) in enumerate(probes.items())
    }
    best = max(options, key=lambda name: options[name].validation)
    targets, known = trainer.targets, np.concatenate([fold.train, fold.valid])
    valid, single = trainer.scores(options[best].head, fold.valid), targets.kind == "single"
    truth = targets.truth[fold.valid]
    calibration, _ = calibrate(valid, truth, setup.groups[fold.valid], single=single, seed=setup.seed)
    head = trainer.at(probes[best], known, options[best].setting, lambda share: report((len(probes) + share) / steps))
    whole = replace(head, calibration=calibration)
    thresholds, _ = choose_thresholds(
        whole.finished(torch.from_numpy(valid)).numpy(), truth, setup.goal, targets.classes, single=single
    )
    scores = trainer.scores(whole, fold.test)
    return _Round(options, best, trainer.scores(head, fold.test), scores, decided(scores, thresholds, single))


def _best(rounds: list[_Round]) -> tuple[str, dict[str, float | None]]:
    """Return the probe with the best mean validation score over the rounds where it is defined, and all means."""
    means: dict[str, float | None] = {}
    for name in rounds[0].options:
        known = [v for one in rounds if math.isfinite(v := one.options[name].validation)]
        means[name] = float(np.mean(known)) if known else None
    return max(means, key=lambda name: -math.inf if means[name] is None else float(means[name] or 0)), means


def _expected(setup: Setup, targets: Targets, folds: list[Fold], rounds: list[_Round]) -> dict[str, Any]:
    """Return what the model is expected to do on clips of other sources, JSON-ready."""
    rows = np.concatenate([fold.test for fold in folds])
    single, truth, groups = targets.kind == "single", targets.truth[rows], setup.groups[rows]
    scores, raw = (np.concatenate([getattr(one, name) for one in rounds]) for name in ("scores", "raw"))
    predictions = ClipPredictions(
        names=clip_names(setup.corpus, targets.rows[rows]),
        group=groups,
        fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
        seeds=(setup.seed,),
        kind=targets.kind,
        classes=targets.classes,
        truth=truth,
        scores=scores[None],
    )
    said = np.concatenate([one.said for one in rounds])
    return {
        **measured(setup, predictions),
        "decisions": decision_scores(said, truth, groups, targets.classes, setup.confidence),
        "reliability": {"before": reliability(raw, truth, single), "after": reliability(scores, truth, single)},
    }
