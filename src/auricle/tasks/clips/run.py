"""Labelled clips, read by probes and by readers without a training loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.probes import LossConfig, ProbeConfig, get_loss
from auricle.probes.registry import PROBES
from auricle.results.predictions import TaskPredictions
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.clip_answers import clip_answers, known_targets
from auricle.tasks.clips.fold_fits import FoldFit, fit_fold
from auricle.tasks.clips.layer_curve import LayerCurveConfig, run_layer_curve
from auricle.tasks.folds import Plan, plan_folds
from auricle.tasks.shallow import SHALLOW_CLASSIFIERS
from auricle.tasks.targets import Targets, make_targets
from auricle.tasks.task_type import (
    Job,
    Kept,
    Outcome,
    TaskPlan,
    TaskType,
    cells,
    clip_names,
    labels_of,
    source_groups,
)


class ClipsTask(TaskType):
    """Clips with one label or several: folds or a split, a probe or a reader of vectors, one score a class."""

    name: ClassVar[str] = "clips"
    probes: ClassVar[dict[str, Config]] = {**PROBES, **SHALLOW_CLASSIFIERS, "layer_curve": LayerCurveConfig()}
    default_probes: ClassVar[tuple[str, ...]] = ("linear", "mhca", "protobin")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Make targets and folds.

        Raises:
            CorpusError: no labels, one class only, fewer clips than folds ...
        """
        targets, plan = plan_clips(card, corpus, seed)
        groups = source_groups(card, corpus, targets.rows)
        return TaskPlan(targets.rows, plan.protocol, plan.words, groups, (*targets.notes, *plan.notes), (targets, plan))

    def layers(self, probe: Config) -> Literal["all"] | None:
        """Return `all` for probes that read layers, and for curves over them."""
        layered = isinstance(probe, ProbeConfig) and probe.reads == "layers"
        return "all" if layered or isinstance(probe, LayerCurveConfig) else None

    def headline(self, card: TaskCard, predictions: TaskPredictions) -> str:
        """Return the card's metric, or accuracy or mAP by the kind of labels."""
        return card.headline("multi" if "mAP" in predictions.metrics else "single")

    def run(self, job: Job) -> Outcome:
        """Fit all folds and put their test clips in a row."""
        targets, plan = job.plan.payload
        protocol = job.protocol
        known = known_targets(job, targets)
        loss = protocol.loss or get_loss(job.card.training_loss(targets.kind))
        if isinstance(job.probe, LayerCurveConfig):
            found = run_layer_curve(job, job.probe, known, plan, loss, self.headline)
            return replace(found, settings=settings_of(job, loss))
        tokens = job.tokens(layers=self.layers(job.probe) == "all")
        folds = job.readable(plan.folds)
        trained = isinstance(job.probe, ProbeConfig)
        seeds = protocol.seeds if trained else protocol.seeds[:1]
        fits: list[FoldFit] = []
        for place, fold in enumerate(folds):

            def fit(fold: Any = fold, place: int = place) -> Kept:
                found = fit_fold(
                    job.probe,
                    tokens,
                    known,
                    fold,
                    seeds=seeds,
                    search=protocol.search,
                    loss=loss,
                    refit=protocol.refit,
                    device=job.device,
                    progress=lambda share: job.tell((place + share) / len(folds)),
                )
                return found.pack()

            fits.append(FoldFit.unpack(*job.kept(f"fold-{place}", fit)))
            job.tell((place + 1) / len(folds))
        return Outcome(
            predictions=clip_answers(job, known, folds, fits, seeds),
            fold_names=[fold.name for fold in folds],
            sizes=[[len(fold.train), len(fold.valid), len(fold.test)] for fold in folds],
            units_total=sum(len(fold.test) for fold in plan.folds),
            chosen=[fit.chosen for fit in fits],
            tried=fits[0].tried,
            params=fits[0].params,
            macs=fits[0].macs,
            settings=settings_of(job, loss),
            refit=protocol.refit,
            notes=list(dict.fromkeys(note for fit in fits for note in fit.notes)),
        )


def plan_clips(card: TaskCard, corpus: Corpus, seed: int) -> tuple[Targets, Plan]:
    """Make the targets and folds of labelled clips.

    Raises:
        CorpusError: no labels, one class only, fewer clips than folds ...
    """
    targets = make_targets(card, labels_of(card, corpus))
    rows = targets.rows
    plan = plan_folds(
        card,
        targets,
        splits=cells(corpus, "split", rows),
        folds=cells(corpus, "fold", rows),
        groups=source_groups(card, corpus, rows).tolist(),
        seed=seed,
    )
    return targets, plan


def settings_of(job: Job, loss: LossConfig) -> dict[str, Any]:
    """Return what a record says of how a reader was trained and searched."""
    probe, search = job.probe, job.protocol.search
    if isinstance(probe, LayerCurveConfig):
        inner = settings_of(replace(job, probe=probe.inner), loss)
        return {**inner, "reader": probe.to_json(), "vectors": "mean of each layer's tokens"}
    if not isinstance(probe, ProbeConfig):
        return {"reader": probe.to_json(), "vectors": "pooled"}
    return {
        "probe": probe.to_json(),
        **search.describe(probe),
        "epochs": search.epochs,
        "batch": search.batch,
        "search": search.to_json(),
        "loss": loss.to_json(),
    }


__all__ = ["ClipsTask", "clip_names", "plan_clips", "settings_of"]
