"""Label-budget curves: the same reader after 1, 2, 5, 10 ... labelled clips of each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError
from auricle.probes import ProbeConfig, get_loss
from auricle.probes.registry import PROBES
from auricle.results.predictions import TaskPredictions
from auricle.results.scoring import score
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.clip_answers import clip_answers, known_targets
from auricle.tasks.clips.fold_fits import FoldFit, fit_fold
from auricle.tasks.clips.run import plan_clips, settings_of
from auricle.tasks.folds import Fold, Plan
from auricle.tasks.label_budget.answers import BudgetPredictions, LabelBudgetRule, nested_draws, useful_budgets
from auricle.tasks.shallow import SHALLOW_CLASSIFIERS
from auricle.tasks.targets import Targets
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, source_groups


@dataclass(frozen=True)
class Budgets:
    """What is learnt from: `folds[fold][draw][budget]`, each with the fold's own test clips."""

    targets: Targets
    plan: Plan
    budgets: tuple[int, ...]
    folds: tuple[tuple[tuple[Fold, ...], ...], ...]


class BudgetTask(TaskType):
    """Curves over label budgets; each draw of clips is trained once, with a seed of its own.

    Settings are chosen on validation clips and never trained on those: a budget counts what a reader learns from.
    """

    name: ClassVar[str] = "label_budget"
    probes: ClassVar[dict[str, Config]] = {**PROBES, **SHALLOW_CLASSIFIERS}
    default_probes: ClassVar[tuple[str, ...]] = ("linear", "logistic", "centroid")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Make targets, folds and draws.

        Raises:
            CorpusError: the corpus has no labels, one class only, fewer clips than folds ...
        """
        rule = card.rule
        if not isinstance(rule, LabelBudgetRule):
            raise ConfigError(f"task {card.name!r} has the rule {type(rule).__name__}; expected LabelBudgetRule")
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
        words = (
            f"{plan.words}; {', '.join(map(str, budgets))} training clips of each class, nested, {rule.draws} draws "
            f"with seed {seed}; {chooses}"
        )
        notes += ["seeds are numbers of draws; an interval speaks of other test clips, `draws` of other training clips"]
        payload = Budgets(targets, plan, budgets, folds)
        groups = source_groups(card, corpus, targets.rows)
        return TaskPlan(targets.rows, plan.protocol, words, groups, (*targets.notes, *plan.notes, *notes), payload)

    def layers(self, probe: Config) -> Literal["all"] | None:
        """Return `all` for probes that read layers."""
        return "all" if isinstance(probe, ProbeConfig) and probe.reads == "layers" else None

    def headline(self, card: TaskCard, predictions: TaskPredictions) -> str:
        """Return the card's metric, or accuracy or mAP by the kind of labels."""
        return card.headline("multi" if "mAP" in predictions.metrics else "single")

    def run(self, job: Job) -> Outcome:
        """Fit every fold, draw and budget."""
        payload: Budgets = job.plan.payload
        rule, protocol = job.card.rule, job.protocol
        if not isinstance(rule, LabelBudgetRule):
            raise ConfigError(f"task {job.card.name!r} has the rule {type(rule).__name__}; expected LabelBudgetRule")
        targets = known_targets(job, payload.targets)
        tokens = job.tokens(layers=self.layers(job.probe) == "all")
        folds = job.readable(payload.plan.folds)
        loss = protocol.loss or get_loss(job.card.training_loss(targets.kind))
        total = len(folds) * rule.draws * len(payload.budgets)
        fits: dict[tuple[int, int, int], FoldFit] = {}
        for f, draws in enumerate(payload.folds):
            for d, nested in enumerate(draws):
                for b, fold in enumerate(job.readable(nested)):

                    def fit(fold: Fold = fold, d: int = d) -> Kept:
                        found = fit_fold(
                            job.probe,
                            tokens,
                            targets,
                            fold,
                            seeds=(protocol.seeds[d % len(protocol.seeds)] + 1000 * (d // len(protocol.seeds)),),
                            search=protocol.search,
                            loss=loss,
                            refit=False,
                            device=job.device,
                            progress=lambda share: job.tell((len(fits) + share) / total),
                        )
                        return found.pack()

                    name = f"fold-{f}-draw-{d}-budget-{payload.budgets[b]}"
                    fits[f, d, b] = FoldFit.unpack(*job.kept(name, fit))
        answers = BudgetPredictions.join(
            payload.budgets, tuple(self._at(job, targets, folds, fits, b, rule) for b in range(len(payload.budgets)))
        )
        first = fits[0, 0, 0]
        return Outcome(
            predictions=answers,
            fold_names=[fold.name for fold in folds],
            sizes=[
                [len(draws[0][-1].train), len(draws[0][-1].valid), len(draws[0][-1].test)] for draws in payload.folds
            ],
            units_total=sum(len(fold.test) for fold in payload.plan.folds),
            chosen=[self._chosen(fits[f, d, b], d, payload.budgets[b]) for f, d, b in sorted(fits)],
            tried=first.tried,
            params=first.params,
            macs=first.macs,
            settings={**settings_of(job, loss), "budgets": list(payload.budgets), "draws": rule.draws},
            refit=False,
            notes=list(dict.fromkeys([*(n for fit in fits.values() for n in fit.notes)]))[:10],
            details={"budget_curve": self._curve(job, answers)},
        )

    def _at(
        self,
        job: Job,
        targets: Targets,
        folds: list[Fold],
        fits: dict[tuple[int, int, int], FoldFit],
        b: int,
        rule: LabelBudgetRule,
    ) -> ClipPredictions:
        """Return the answers after one budget, draws stacked where seeds stand."""
        stacked = [
            FoldFit(np.concatenate([fits[f, d, b].scores for d in range(rule.draws)]), {}, 0, 0)
            for f in range(len(folds))
        ]
        return clip_answers(job, targets, folds, stacked, range(rule.draws))

    def _chosen(self, fit: FoldFit, draw: int, budget: int) -> dict[str, Any]:
        kept = {k: v for k, v in fit.chosen.items() if k != "tried"}
        return {**kept, "draw": draw, "budget": budget}

    def _curve(self, job: Job, answers: BudgetPredictions) -> list[dict[str, Any]]:
        metric, protocol = self.headline(job.card, answers), job.protocol
        curve = []
        for budget, one in zip(answers.budgets, answers.curve, strict=True):
            found = score(
                one,
                metric,
                resamples=protocol.resamples,
                confidence=protocol.confidence,
                seed=protocol.split_seed,
            )
            curve.append(
                {
                    "budget": budget,
                    "value": found.value,
                    "low": found.interval.low,
                    "high": found.interval.high,
                    "draws": found.per_seed,
                }
            )
        return curve


def _draw(
    fold: Fold, targets: Targets, budgets: tuple[int, ...], rule: LabelBudgetRule, seed: int, f: int, d: int
) -> tuple[Fold, ...]:
    """Draw one fold's training and validation clips for each budget."""
    # A generator of its own for each fold and draw: more draws change none of the first ones.
    train = nested_draws(fold.train, targets.truth, budgets, np.random.default_rng([seed, f, d, 0]))
    valid = nested_draws(fold.valid, targets.truth, budgets, np.random.default_rng([seed, f, d, 1]))
    return tuple(
        Fold(fold.name, t, v if rule.validation == "budget" else fold.valid, fold.test)
        for t, v in zip(train, valid, strict=True)
    )
