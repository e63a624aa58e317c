"""Labelled clips judged by an evaluation kit's protocol instead of auricle's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError
from auricle.kits.folds import kit_plan
from auricle.kits.grid import GridPoint, best_point, fit_points, side_by_side
from auricle.kits.knn import neighbour_votes
from auricle.kits.protocols import ProtocolConfig
from auricle.kits.training import CompatFit, compat_logits
from auricle.probes.contract import Labelled
from auricle.probes.cost import head_macs
from auricle.probes.losses import get_loss
from auricle.results.predictions import TaskPredictions
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.run import plan_clips
from auricle.tasks.folds import Fold
from auricle.tasks.targets import Targets
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, cells, source_groups
from auricle.tokens.token_set import TokenSet


@dataclass(frozen=True)
class Side:
    """Clips of a fold with what is true of them, ready for a kit's head."""

    tokens: TokenSet
    targets: Targets

    def labelled(self, rows: NDArray[np.int64]) -> Labelled:
        """Return some clips with targets: class numbers for one label a clip, zeros and ones for several."""
        if self.targets.kind == "single":
            return Labelled(self.tokens.select(rows), torch.from_numpy(self.targets.numbers[rows]))
        return Labelled(self.tokens.select(rows), torch.from_numpy(self.targets.truth[rows].astype(np.float32)))


class CompatTask(TaskType):
    """Clips with one label or several, by a kit's rules.

    Args:
        protocol: the kit's, as it is for this task.
        memory_mb: bound on what the points of a grid hold while they train.
        workers: folds or heads that train side by side, one thread each; None: as many as torch has threads.
    """

    name: ClassVar[str] = "clips"
    probes: ClassVar[dict[str, Config]] = {}
    default_probes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, protocol: ProtocolConfig, *, memory_mb: float = 256.0, workers: int | None = None) -> None:
        self.protocol, self.memory_mb, self.workers = protocol, memory_mb, workers

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Make targets, and folds for each of the protocol's seeds.

        Raises:
            CorpusError: no labels, one class only, fewer clips than folds, or no validation clips as the kit
                wants them.
        """
        targets, official = plan_clips(card, corpus, seed)
        splits = cells(corpus, "split", targets.rows)
        plans = tuple(kit_plan(self.protocol, official, targets, splits, s) for s in self.protocol.seeds)
        groups = source_groups(card, corpus, targets.rows)
        notes = (*targets.notes, *plans[0].notes, *self.protocol.notes, *self._crop_notes(corpus, targets.rows))
        return TaskPlan(targets.rows, official.protocol, plans[0].words, groups, notes, (targets, plans))

    def layers(self, probe: Config) -> Literal["all"] | None:
        """Return `all` for heads over layers."""
        return "all" if self.protocol.layered else None

    def leaks(self, plan: TaskPlan) -> list[str]:
        """Return what in the protocol flatters the score on a task laid out so."""
        return [*self.protocol.leaks, *(self.protocol.fold_leaks if plan.protocol == "folds" else ())]

    def headline(self, card: TaskCard, predictions: TaskPredictions) -> str:
        """Return the card's metric, or accuracy or mAP by the kind of labels."""
        return card.headline("multi" if "mAP" in predictions.metrics else "single")

    def run(self, job: Job) -> Outcome:
        """Train the kit's head on all folds with all its seeds and put the test clips in a row."""
        targets, plans = job.plan.payload
        protocol, here = self.protocol, job.here
        tokens = job.tokens(layers=protocol.layered is not None)
        known = replace(targets, rows=targets.rows[here], truth=targets.truth[here])
        side = Side(tokens, known)
        by_seed = [job.readable(plan.folds) for plan in plans]
        kept = [
            self._seed(job, side, folds, seed, place / len(plans))
            for place, (seed, folds) in enumerate(zip(protocol.seeds, by_seed, strict=True))
        ]
        folds = by_seed[0]
        test = np.concatenate([fold.test for fold in folds])
        predictions = ClipPredictions(
            kind=targets.kind,
            classes=targets.classes,
            names=job.clip_names[here][test],
            fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
            group=job.plan.groups[here][test],
            truth=known.truth[test],
            scores=np.stack([np.concatenate([arrays["scores"] for _, arrays in parts]) for parts in kept]),
            seeds=protocol.seeds,
        )
        heads = [head for parts in kept for head, _ in parts]
        return Outcome(
            predictions=predictions,
            fold_names=[fold.name for fold in folds],
            sizes=[[len(fold.train), len(fold.valid), len(fold.test)] for fold in folds],
            units_total=sum(len(fold.test) for fold in plans[0].folds),
            chosen=[head["chosen"] for head in heads],
            tried=len(protocol.tried),
            params=heads[0]["params"],
            macs=heads[0]["macs"],
            settings={"protocol": protocol.to_json()},
            details={"kit": _as_the_kit_says(job.card, predictions, self)},
        )

    def _seed(self, job: Job, side: Side, folds: list[Fold], seed: int, before: float) -> list[Kept]:
        """Return each fold's scores for one seed."""
        protocol = self.protocol
        workers = 1 if job.device != "cpu" else self.workers or torch.get_num_threads()
        finished: set[int] = set()

        def tell(share: float) -> None:
            job.tell(before + (len(finished) + share) / len(folds) / len(protocol.seeds))

        def made(place: int, points: tuple[GridPoint, ...], alone: bool) -> Kept:
            def make() -> Kept:
                if alone:
                    return self._fold(job, side, folds[place], points, seed, self.memory_mb, workers, tell)
                return self._fold(job, side, folds[place], points, seed, self.memory_mb / workers, 1, None)

            kept = job.kept(f"seed-{seed}-fold-{place}", make)
            finished.add(place)
            tell(0.0)
            return kept

        first: list[Kept] = []
        points = protocol.tried
        if protocol.choose_once:
            first = [made(0, points, True)]
            points = (points[first[0][0]["chosen"]["point"]],)
        rest = range(len(first), len(folds))
        return first + side_by_side([lambda k=k: made(k, points, False) for k in rest], workers)  # type: ignore[misc]

    def _fold(
        self,
        job: Job,
        side: Side,
        fold: Fold,
        points: tuple[GridPoint, ...],
        seed: int,
        memory_mb: float,
        workers: int,
        tell: Callable[[float], None] | None,
    ) -> Kept:
        """Try the points on one fold and score its test clips by the best of them."""
        targets, protocol = side.targets, self.protocol
        test = side.tokens.select(fold.test)
        if protocol.neighbours is not None:
            votes = neighbour_votes(side.labelled(fold.train), test, len(targets.classes), protocol.neighbours)
            return {"chosen": {"fold": fold.name, "seed": seed}, "params": 0, "macs": None}, {"scores": votes}
        both = np.concatenate([fold.train, fold.valid])
        fits = fit_points(
            points,
            protocol.training,
            side.labelled(fold.train),
            side.labelled(fold.valid),
            len(targets.classes),
            single=targets.kind == "single",
            seed=seed,
            device=job.device,
            memory_mb=memory_mb,
            workers=workers,
            calibrate_on=side.tokens.select(both) if protocol.standardise_with_valid else None,
            progress=tell,
        )
        place = best_point(fits)
        logits = compat_logits(points[place].head, fits[place], test, len(targets.classes), job.device)
        scores = get_loss("ce" if targets.kind == "single" else "bce").scores(logits).numpy()
        head = points[place].head.build(
            test.shape, len(targets.classes), settings=1, generator=torch.Generator().manual_seed(seed)
        )
        chosen = {"fold": fold.name, "seed": seed, "point": protocol.tried.index(points[place]), **_said(fits[place])}
        chosen["tried"] = [{"head": p.head.to_json(), **_said(fit)} for p, fit in zip(points, fits, strict=True)]
        return {"chosen": chosen, "params": head.params, "macs": head_macs(head, test)}, {"scores": scores}

    def _crop_notes(self, corpus: Corpus, rows: NDArray[np.int64]) -> tuple[str, ...]:
        crop = self.protocol.crop
        if not crop.seconds:
            return ()
        seconds = np.array(cells(corpus, "seconds", rows), dtype=np.float64)
        longer, shorter = int((seconds > crop.seconds + 1e-3).sum()), int((seconds < crop.seconds - 1e-3).sum())
        how = "at random in training and from the start in test" if crop.train == "random" else "from the start"
        notes = [f"the kit cuts clips to {crop.seconds:g} s, {how}; cached tokens are of whole clips: "]
        notes[0] += f"{longer} of {len(rows)} clips are longer" if longer else "no clip is longer, nothing is lost"
        if crop.pad and shorter:
            notes.append(f"the kit pads {shorter} shorter clips with zeros to {crop.seconds:g} s; here they stay short")
        return tuple(notes)


def _said(fit: CompatFit) -> dict[str, Any]:
    validation = fit.score if np.isfinite(fit.score) else None
    return {"lr": fit.lr, "validation": validation, "epoch": fit.at, "epochs": fit.trained, "raced_out": fit.raced_out}


def _as_the_kit_says(card: TaskCard, predictions: ClipPredictions, kind: CompatTask) -> dict[str, Any]:
    """The score as the kit prints it: the mean over folds of each seed, and how far folds and seeds spread."""
    metric = kind.headline(card, predictions)
    folds = np.unique(predictions.fold)
    weights = np.stack([predictions.fold == f for f in folds]).astype(np.float64)
    values = predictions.measure(metric, weights)
    means = values.mean(1)
    return {
        "metric": metric,
        "mean": float(means.mean()),
        "fold_deviation": float(values.mean(0).std(ddof=1)) if len(folds) > 1 else None,
        "seed_deviation": float(means.std(ddof=1)) if len(means) > 1 else None,
    }


def require_clips(card: TaskCard) -> None:
    """Refuse tasks that are not of labelled clips.

    Raises:
        ConfigError: it is of another type.
    """
    if type(card.rule).__name__ != "ClipsRule":
        raise ConfigError(
            f"task {card.name!r} is of type {type(card.rule).__name__}; the kits' protocols here judge labelled clips: "
            "use auricle's own protocol for it"
        )
