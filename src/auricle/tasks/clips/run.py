"""Classification of clips with one label or several, by probes and by shallow classifiers."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.probes import LossConfig, ProbeConfig, get_loss
from auricle.probes.registry import PROBES
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.fold_fits import clip_predictions, fit_fold, known_targets
from auricle.tasks.clips.layer_curve import LayerCurveConfig, run_layer_curve
from auricle.tasks.clips.rule import ClipsRule
from auricle.tasks.folds import Fold, Plan, plan_corpus, training_means
from auricle.tasks.shallow import SHALLOW_CLASSIFIERS
from auricle.tasks.targets import Targets, labels_of, make_targets, source_groups
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, fold_outcome


class ClipsTask(TaskType):
    """Clips with one label or several: folds or a split, one score a class."""

    name: ClassVar[str] = ClipsRule.type_name
    # A view, so that probes of plug-ins are among them; probes of tokens come first.
    probes: ClassVar[Mapping[str, Config]] = ChainMap({"layer_curve": LayerCurveConfig()}, SHALLOW_CLASSIFIERS, PROBES)  # type: ignore[arg-type]
    default_probes: ClassVar[tuple[str, ...]] = ("linear", "mhca", "protobin")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        targets, plan = plan_clips(card, corpus, seed)
        groups, (metric, why) = source_groups(card, corpus, targets.rows), fair_metric(card, targets, plan.folds)
        notes, payload = (*targets.notes, *plan.notes, *why), (targets, plan)
        return TaskPlan(targets.rows, plan.protocol, plan.description, groups, notes, payload, metric, plan.folds)

    def layers(self, probe: Config) -> Literal["all"] | None:
        return "all" if isinstance(probe, LayerCurveConfig) else super().layers(probe)

    def run(self, job: Job) -> Outcome:
        targets, plan = job.plan.payload
        protocol = job.protocol
        known = known_targets(job, targets)
        loss = protocol.loss or get_loss(job.card.training_loss(targets.kind))
        if isinstance(job.probe, LayerCurveConfig):
            return run_layer_curve(job, job.probe, known, plan, loss, settings_of(job, loss))
        tokens = job.tokens(layers=self.layers(job.probe) == "all")
        folds = job.readable(plan.folds)
        seeds = protocol.seeds if isinstance(job.probe, ProbeConfig) else protocol.seeds[:1]

        def fit(fold: Fold, progress: Callable[[float], None]) -> Kept:
            found = fit_fold(job.probe, tokens, known, fold, seeds=seeds, loss=loss, progress=progress, **job.training)
            if found.fitted:
                facts = {"single": known.kind == "single", "unseen": found.unseen}
                job.keep_heads(fold.name, seeds, found.fitted, [facts] * len(seeds))
            return found.pack()

        parts = job.each_fold(folds, fit)
        predictions = clip_predictions(job, known, folds, parts, seeds)
        heads, settings = [head for head, _ in parts], settings_of(job, loss)
        constant = predictions.constant(training_means(known.truth, folds))
        return fold_outcome(predictions, folds, plan.folds, heads, settings, refit=protocol.refit, constant=constant)


def plan_clips(card: TaskCard, corpus: Corpus, seed: int) -> tuple[Targets, Plan]:
    """Make the targets and folds of labelled clips.

    Raises:
        CorpusError: no labels, one class only, fewer clips than folds ...
    """
    targets = make_targets(card, labels_of(card, corpus))
    return targets, plan_corpus(card, targets, corpus, seed)[0]


def fair_metric(card: TaskCard, targets: Targets, folds: Sequence[Fold]) -> tuple[str, tuple[str, ...]]:
    """Return the headline metric that the training labels ask for, and why; "" and no reason: the usual one.

    Accuracy of single-label clips says little where one class has more than twice its fair share of the training
    clips (of two classes: more than three quarters): balanced accuracy is the headline there.

    Args:
        card: a metric that it names is kept.
        targets: labels of the clips.
        folds: with indices into `targets`.
    """
    if targets.kind != "single" or card.metric:
        return "", ()
    known = np.unique(np.concatenate([np.concatenate([fold.train, fold.valid]) for fold in folds]))
    shares = targets.truth[known].mean(0)
    most, limit = int(shares.argmax()), min(2 / len(targets.classes), 0.75)
    if shares[most] <= limit:
        return "", ()
    fair = 1 / len(targets.classes)
    return "balanced_accuracy", (
        f"the headline is balanced accuracy: class {targets.classes[most]!r} has {shares[most]:.0%} of the training "
        f"clips, and its fair share is {fair:.0%}",
    )


def settings_of(job: Job, loss: LossConfig) -> dict[str, Any]:
    """Return the part of a record on how a probe was trained and searched."""
    probe, search = job.probe, job.training["search"]
    if isinstance(probe, LayerCurveConfig):
        inner = settings_of(replace(job, probe=probe.inner), loss)
        return {**inner, "probe": probe.to_json(), "vectors": "mean of each layer's tokens"}
    if not isinstance(probe, ProbeConfig):
        return {"probe": probe.to_json(), "vectors": "pooled"}
    return {
        "probe": probe.to_json(),
        **search.describe(probe),
        "epochs": search.epochs,
        "batch": search.batch,
        "search": search.to_json(),
        "loss": loss.to_json(),
    }
