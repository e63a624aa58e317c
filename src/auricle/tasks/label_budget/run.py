"""Label-budget curves: the same probe after 1, 2, 5, 10 ... labelled clips of each class, drawn repeatedly.

Within a draw the budgets are nested: the clips of a smaller one are part of the larger one. Draws are made once, so
that every encoder and probe learns from the same clips.

Letters in shapes: n clips, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.probes import get_loss
from auricle.probes.registry import PROBES
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.fold_fits import clip_predictions, fit_fold, known_targets
from auricle.tasks.clips.run import fair_metric, plan_clips, settings_of
from auricle.tasks.folds import Fold, Plan, training_means
from auricle.tasks.label_budget.answers import BudgetPredictions
from auricle.tasks.label_budget.rule import LabelBudgetRule
from auricle.tasks.shallow import SHALLOW_CLASSIFIERS
from auricle.tasks.targets import Targets, source_groups
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, fold_outcome

Rows = NDArray[np.int64]
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
        metric, why = fair_metric(card, targets, plan.folds)
        all_notes = (*targets.notes, *plan.notes, *notes, *why)
        return TaskPlan(targets.rows, plan.protocol, description, groups, all_notes, payload, metric, plan.folds)

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
            constant=predictions.constant(training_means(targets.truth, folds)),
            details={"budget_curve": _curve(job, predictions, self.headline(job.card, job.plan, predictions))},
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


def nested_draws(
    rows: Rows, truth: NDArray[np.bool_], budgets: Sequence[int], generator: np.random.Generator
) -> Iterator[Rows]:
    """Draw clips for each budget, the smaller ones part of the larger ones.

    For one label a clip each class gets exactly its budget (or all it has). With several labels, classes take turns in
    random order, and a clip counts for each of its classes: a class may get more than its budget, never less unless
    it has no more. Clips without a label are never drawn.

    Args:
        rows: `(m,)` places of the clips to draw from.
        truth: `(n, C)` labels of all clips.
        budgets: in ascending order.
        generator: of the draw.

    Yields:
        For each budget the places of its clips, in ascending order.
    """
    order = generator.permutation(rows)
    classes = generator.permutation(truth.shape[1])
    chosen = np.zeros(len(truth), dtype=bool)
    for budget in budgets:
        for c in classes.tolist():
            lacking = budget - int(truth[chosen, c].sum())
            if lacking > 0:
                chosen[[r for r in order[truth[order, c]].tolist() if not chosen[r]][:lacking]] = True
        yield np.flatnonzero(chosen)


def useful_budgets(budgets: Sequence[int], counts: Sequence[int]) -> tuple[tuple[int, ...], list[str]]:
    """Return the budgets that differ from each other, and notes on those left out or not met.

    Args:
        budgets: in ascending order.
        counts: training clips of each class, in the fold that has the fewest.

    Raises:
        CorpusError: not one budget is left, or a fold has no labelled training clip.
    """
    most, fewest = max(counts, default=0), min((c for c in counts if c), default=0)
    if most == 0:
        raise CorpusError("a fold has no labelled training clip; correct the columns split or fold")
    # The first budget that takes every clip says what all larger ones would.
    kept = [b for i, b in enumerate(budgets) if i == 0 or budgets[i - 1] < most]
    notes = []
    if len(kept) < len(budgets):
        left = ", ".join(str(b) for b in budgets[len(kept) :])
        notes.append(f"budgets {left} are skipped: no class has more than {most} training clips in every fold")
    if any(b > fewest for b in kept):
        notes.append(f"a class with fewer training clips than the budget gives all it has (the fewest: {fewest})")
    return tuple(kept), notes
