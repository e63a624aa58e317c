"""Events, numbers and texts: fitted and measured by the evaluation of their type of task, whose heads are kept."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from auricle.answers.fitting.setup import Fitted, Setup, measured
from auricle.config import Config
from auricle.errors import ConfigError
from auricle.evaluation.kept_heads import head_of
from auricle.models.heads import Head
from auricle.probes import ProbeConfig
from auricle.tasks.folds import Fold, Plan
from auricle.tasks.task_type import Job, Outcome, Protocol, TaskPlan

# Kinds of validation scores of which lower ones are better.
_LOWER = ("symbol error rate", "mae", "rmse")


def fit_by_run(setup: Setup) -> Fitted:
    """Fit a head by the evaluation of its type of task.

    Each candidate is evaluated on the divisions; the one with the best mean validation score is fitted once more, with
    all clips that the kept head may know: its setting, and for events thresholds and filter, are chosen on the
    validation clips of the first division, and then it is trained on all.

    Raises:
        CorpusError: a side of a division has no clip that can be read.
    """
    probes = setup.probes or dict(setup.kind.probe(name) for name in setup.kind.usual(setup.plan))
    steps = len(probes) + 1
    runs: dict[str, Outcome] = {}
    for done, (name, probe) in enumerate(probes.items()):

        def report(share: float, done: int = done) -> None:
            setup.progress((done + share) / steps)

        runs[name] = _run(setup, name, probe, setup.plan, report)
    means = {name: _validation(outcome) for name, outcome in runs.items()}
    first = next(iter(runs.values())).chosen[0]
    metrics = {name: str(outcome.chosen[0].get("metric")) for name, outcome in runs.items()}
    if len(set(metrics.values())) > 1:
        pairs = ", ".join(f"{name} by {metric}" for name, metric in metrics.items())
        raise ConfigError(f"the probes have validation scores of different metrics ({pairs}); expected one metric")
    sign = -1.0 if first.get("metric") in _LOWER else 1.0
    best = max(means, key=lambda name: -math.inf if means[name] is None else sign * float(means[name] or 0))
    kept: list[tuple[Any, dict[str, Any]]] = []
    final = _final(setup)
    outcome = _run(
        setup, best, probes[best], final, lambda share: setup.progress((steps - 1 + share) / steps),
        lambda fold, seed, fitted, facts: kept.append((fitted, facts)),
    )  # fmt: skip
    head: Head = head_of(setup.kind.name, *kept[-1], segment=setup.segment)
    facts: dict[str, Any] = {
        "clips": int(len(final.folds[0].train) + len(final.folds[0].valid)),
        "probe": {
            "name": best,
            "settings": probes[best].to_json(),
            "chosen": _plain(outcome.chosen[0]),
            "candidates": means,
            "metric": str(first.get("metric", "validation score")),
        },
        "expected": measured(setup, runs[best].predictions),
        "used": _used(setup, len(probes)),
    }
    if setup.kind.name == "events":
        facts["thresholds"] = [
            {"class": name, "threshold": value} for name, value in zip(head.classes, head.thresholds, strict=True)
        ]
        facts["decoding"] = dict(head.details["decoding"])
        facts["goal"] = "f1"
        facts["calibration"] = {"method": "none", "why": "thresholds of events are chosen on the scores of frames"}
    notes = list(runs[best].notes)
    if len(probes) > 1 and setup.plan.protocol != "split":
        notes.append(
            f"the probe was chosen among {len(probes)} by the validation clips of all rounds, which are test clips of "
            "other rounds: the expected performance is slightly optimistic; name one with --probes to avoid that"
        )
    return Fitted(head, facts, tuple(dict.fromkeys(notes)))


def _run(
    setup: Setup,
    name: str,
    probe: Config,
    plan: TaskPlan,
    report: Callable[[float], None],
    keep: Callable[[str, int, Any, dict[str, Any]], None] | None = None,
) -> Outcome:
    layered = isinstance(probe, ProbeConfig) and probe.reads == "layers"
    protocol = Protocol((setup.seed,), setup.search, None, True, setup.confidence, setup.seed)
    with tempfile.TemporaryDirectory() as folder:
        # Two levels up, events write examples for a report, which has no place here.
        parts = Path(folder) / "fits" / "one"
        job = Job(
            setup.card, setup.corpus, plan, setup.encoder, name, probe, setup.open_cache(layered), protocol,
            setup.device, parts, report, keep,
        )  # fmt: skip
        return setup.kind.run(job)


def _final(setup: Setup) -> TaskPlan:
    """Return the plan of the kept head: all clips it may know, those of the first division's validation choosing."""
    (first, *_), protocol = setup.plan.folds, setup.plan.protocol
    train = first.train if protocol == "split" else np.concatenate([first.train, first.test])
    # The test part is scored by every evaluation; here nothing is made of that.
    fold = Fold("final", train, first.valid, first.valid)
    payload = setup.plan.payload
    if isinstance(payload, tuple):
        payload = tuple(replace(part, folds=(fold,)) if isinstance(part, Plan) else part for part in payload)
    elif hasattr(payload, "plan"):
        payload = replace(payload, plan=replace(payload.plan, folds=(fold,)))
    else:
        raise ConfigError(f"tasks of type {setup.kind.name} have no division to fit a head on")
    return replace(setup.plan, folds=(fold,), payload=payload)


def _validation(outcome: Outcome) -> float | None:
    known = [v for one in outcome.chosen if (v := one.get("validation")) is not None and math.isfinite(float(v))]
    return float(np.mean(known)) if known else None


def _plain(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return what was chosen without what else was tried."""
    return {name: value for name, value in chosen.items() if name not in ("tried", "fold")}


def _used(setup: Setup, probes: int) -> str:
    if setup.plan.protocol == "split":
        return setup.used()
    return (
        f"{len(setup.folds)} rounds: in each, the validation clips chose the setting and the test clips measured the "
        f"expected performance; {'the probe has the best validation scores of all rounds; ' if probes > 1 else ''}"
        "the kept head chose its setting on the validation clips of the first round and was then fitted to all clips"
    )
