"""Label-budget curves: the same probe after 1, 2, 5, 10 ... labelled clips of each class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.probes import get_loss
from auricle.probes.registry import PROBES
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.fold_fits import clip_predictions, fit_fold, known_targets
from auricle.tasks.clips.run import plan_clips, settings_of
from auricle.tasks.folds import Fold, Plan
from auricle.tasks.label_budget.answers import BudgetPredictions, nested_draws, useful_budgets
from auricle.tasks.label_budget.rule import LabelBudgetRule
from auricle.tasks.shallow import SHALLOW_CLASSIFIERS
from auricle.tasks.targets import Targets, source_groups
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, fold_outcome

Fits = dict[tuple[int, int, int], Kept]
"""`(fold, draw, budget)` -> fit."""


@dataclass(frozen=True)
class Budgets:
    """Training and validation clips: `folds[fold][draw][budget]`, each with the fold's own test clips."""

    targets: Targets
    plan: Plan
    budgets: tuple[int, ...]
    folds: tuple[tuple[tuple[Fold, ...], ...], ...]


class LabelBudgetTask(TaskType):
    """Curves over label budgets; each draw of clips is trained once, with its own seed.

    Validation clips choose settings and are never trained on: a budget counts all clips that a probe is trained on.
    """

    name: ClassVar[str] = LabelBudgetRule.type_name
    probes: ClassVar[dict[str, Config]] = {**PROBES, **SHALLOW_CLASSIFIERS}
    default_probes: ClassVar[tuple[str, ...]] = ("linear", "logistic", "centroid")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        rule = card.rule_as(LabelBudgetRule)
        targets, plan = plan_clips(card, corpus, seed)
        counts = np.min([targets.truth[fold.train].sum(0) for fold in plan.folds], axis=0)
        budgets, notes = useful_budgets(rule.budgets, counts.tolist())
        folds = tuple(
            tuple(_draw(fold, targets, budgets, rule, seed, f, d) for d in range(rule.draws))
            for f, fold in enumerate(plan.folds)
        )
        chooses = "as many validation clips of each class choose the settings"
        if rule.validation == "all":
            chooses = "all validation clips choose the settings"
            notes.append("all validation clips choose the settings, whatever the budget: this flatters small budgets")
        description = (
            f"{plan.description}; {', '.join(map(str, budgets))} training clips of each class, nested, {rule.draws} "
            f"draws with seed {seed}; {chooses}"
        )
        notes += ["seeds are draws; an interval covers other test clips, `draws` of the curve other training clips"]
        payload = Budgets(targets, plan, budgets, folds)
        groups = source_groups(card, corpus, targets.rows)
        all_notes = (*targets.notes, *plan.notes, *notes)
        return TaskPlan(targets.rows, plan.protocol, description, groups, all_notes, payload)

    def run(self, job: Job) -> Outcome:
        payload: Budgets = job.plan.payload
        protocol, draws = job.protocol, job.card.rule_as(LabelBudgetRule).draws
        targets = known_targets(job, payload.targets)
        tokens = job.tokens(layers=self.layers(job.probe) == "all")
        folds = job.readable(payload.plan.folds)
        loss = protocol.loss or get_loss(job.card.training_loss(targets.kind))
        total = len(folds) * draws * len(payload.budgets)
        fits: Fits = {}
        for f, by_draw in enumerate(payload.folds):
            for d, nested in enumerate(by_draw):
                for b, fold in enumerate(job.readable(nested)):

                    def fit(fold: Fold = fold, d: int = d) -> Kept:
                        seed = protocol.seeds[d % len(protocol.seeds)] + 1000 * (d // len(protocol.seeds))
                        found = fit_fold(
                            job.probe,
                            tokens,
                            targets,
                            fold,
                            seeds=(seed,),
                            loss=loss,
                            progress=lambda share: job.progress((len(fits) + share) / total),
                            **{**job.training, "refit": False},
                        )
                        return found.pack()

                    fits[f, d, b] = job.kept(f"fold-{f}-draw-{d}-budget-{payload.budgets[b]}", fit)
        after = tuple(_after(job, targets, folds, fits, b, draws) for b in range(len(payload.budgets)))
        predictions = BudgetPredictions.join(payload.budgets, after)
        outcome = fold_outcome(
            predictions,
            [by_draw[0][-1] for by_draw in payload.folds],
            payload.plan.folds,
            [_named(fits[f, d, b][0], d, payload.budgets[b]) for f, d, b in sorted(fits)],
            {**settings_of(job, loss), "budgets": list(payload.budgets), "draws": draws},
            refit=False,
            details={"budget_curve": _curve(job, predictions, self.headline(job.card, predictions))},
        )
        return replace(outcome, notes=outcome.notes[:10])


def _after(job: Job, targets: Targets, folds: list[Fold], fits: Fits, b: int, draws: int) -> ClipPredictions:
    """Return the predictions after one budget; the axis of seeds holds the draws."""
    parts = [{"scores": np.concatenate([fits[f, d, b][1]["scores"] for d in range(draws)])} for f in range(len(folds))]
    return clip_predictions(job, targets, folds, [({}, part) for part in parts], range(draws))


def _named(head: dict[str, Any], draw: int, budget: int) -> dict[str, Any]:
    """Return a fit's record with its draw and budget, without the settings tried."""
    chosen = {k: v for k, v in head["chosen"].items() if k != "tried"}
    return {**head, "chosen": {**chosen, "draw": draw, "budget": budget}}


def _curve(job: Job, predictions: BudgetPredictions, metric: str) -> list[dict[str, Any]]:
    curve = []
    for budget, one in zip(predictions.budgets, predictions.curve, strict=True):
        found = job.protocol.score(one, metric)
        interval = {"low": found.interval.low, "high": found.interval.high}
        curve.append({"budget": budget, "value": found.value, **interval, "draws": found.per_seed})
    return curve


def _draw(
    fold: Fold, targets: Targets, budgets: tuple[int, ...], rule: LabelBudgetRule, seed: int, f: int, d: int
) -> tuple[Fold, ...]:
    """Draw one fold's training and validation clips for each budget."""
    # Each fold and draw has its own generator, so that more draws change none of the first ones.
    train = nested_draws(fold.train, targets.truth, budgets, np.random.default_rng([seed, f, d, 0]))
    valid = nested_draws(fold.valid, targets.truth, budgets, np.random.default_rng([seed, f, d, 1]))
    return tuple(
        Fold(fold.name, t, v if rule.validation == "budget" else fold.valid, fold.test)
        for t, v in zip(train, valid, strict=True)
    )
