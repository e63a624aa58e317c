"""Labelled clips by the protocol of an evaluation kit instead of auricle's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError
from auricle.kits.folds import kit_plan
from auricle.kits.grid import GridPoint, best_point, fit_points, side_by_side
from auricle.kits.head import KitHeadConfig
from auricle.kits.protocols import NeighbourConfig, ProtocolConfig
from auricle.kits.training import KitFit, kit_logits
from auricle.probes.contract import Labelled
from auricle.probes.cost import head_macs
from auricle.probes.losses import get_loss
from auricle.probes.search.feed import Feed
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.run import fair_metric, plan_clips
from auricle.tasks.folds import Fold, training_means
from auricle.tasks.targets import Targets, cells, source_groups
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType
from auricle.tokens.token_set import TokenSet


@dataclass(frozen=True)
class _Side:
    """Tokens and labels of clips, ready for a kit's head."""

    tokens: TokenSet
    targets: Targets

    def labelled(self, rows: NDArray[np.int64]) -> Labelled:
        """Return some clips with their labels."""
        return Labelled(self.tokens.select(rows), self.targets.labels(rows))


class KitTask(TaskType):
    """Clips with one label or several, by the rules of a kit.

    Args:
        protocol: of the kit, for this task.
        memory_mb: bound on the memory of the points of a grid in training.
        workers: folds or heads that train in parallel, one thread each; None: the number of torch's threads.
    """

    name: ClassVar[str] = "clips"
    probes: ClassVar[dict[str, Config]] = {}
    default_probes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, protocol: ProtocolConfig, *, memory_mb: float = 256.0, workers: int | None = None) -> None:
        self.protocol, self.memory_mb, self.workers = protocol, memory_mb, workers

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        targets, official = plan_clips(card, corpus, seed)
        splits = cells(corpus, "split", targets.rows)
        plans = tuple(kit_plan(self.protocol, official, targets, splits, s) for s in self.protocol.seeds)
        groups = source_groups(card, corpus, targets.rows)
        notes = (*targets.notes, *plans[0].notes, *self.protocol.notes, *self._crop_notes(corpus, targets.rows))
        metric, why = fair_metric(card, targets, official.folds)
        description, payload, all_notes = plans[0].description, (targets, plans), (*notes, *why)
        return TaskPlan(
            targets.rows, official.protocol, description, groups, all_notes, payload, metric, plans[0].folds
        )

    def layers(self, probe: Config) -> Literal["all"] | None:
        return "all" if self.protocol.layers else None

    def leaks(self, plan: TaskPlan) -> list[str]:
        """Return what in the protocol flatters the score of a task with this plan."""
        return [*self.protocol.leaks, *(self.protocol.fold_leaks if plan.protocol == "folds" else ())]

    def run(self, job: Job) -> Outcome:
        targets, plans = job.plan.payload
        protocol, here = self.protocol, job.present
        tokens = job.tokens(layers=protocol.layers is not None)
        known = replace(targets, rows=targets.rows[here], truth=targets.truth[here])
        side = _Side(tokens, known)
        by_seed = [job.readable(plan.folds) for plan in plans]
        kept = [
            self._seed(job, side, folds, seed, place / len(plans))
            for place, (seed, folds) in enumerate(zip(protocol.seeds, by_seed, strict=True))
        ]
        folds = by_seed[0]
        test, units = job.test_units(folds)
        predictions = ClipPredictions(
            kind=targets.kind,
            classes=targets.classes,
            **units,
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
            constant=predictions.constant(training_means(known.truth, folds)),
            details={"kit": _kit_scores(self.headline(job.card, job.plan, predictions), predictions)},
        )

    def _seed(self, job: Job, side: _Side, folds: list[Fold], seed: int, before: float) -> list[Kept]:
        """Return each fold's scores for one seed."""
        protocol = self.protocol
        workers = 1 if job.device != "cpu" else self.workers or torch.get_num_threads()
        finished: set[int] = set()

        def advance(share: float) -> None:
            job.progress(before + (len(finished) + share) / len(folds) / len(protocol.seeds))

        def made(place: int, points: tuple[GridPoint, ...], alone: bool) -> Kept:
            def make() -> Kept:
                if alone:
                    return self._fold(job, side, folds[place], points, seed, self.memory_mb, workers, advance)
                return self._fold(job, side, folds[place], points, seed, self.memory_mb / workers, 1, None)

            kept = job.kept(f"seed-{seed}-fold-{place}", make)
            finished.add(place)
            advance(0.0)
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
        side: _Side,
        fold: Fold,
        points: tuple[GridPoint, ...],
        seed: int,
        memory_mb: float,
        workers: int,
        advance: Callable[[float], None] | None,
    ) -> Kept:
        """Try the points on one fold and predict its test clips with the best of them."""
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
            progress=advance,
        )
        place = best_point(fits)
        logits = kit_logits(points[place].head, fits[place], test, len(targets.classes), job.device)
        scores = get_loss("ce" if targets.kind == "single" else "bce").scores(logits).numpy()
        head = points[place].head.build(
            test.shape, len(targets.classes), settings=1, generator=torch.Generator().manual_seed(seed)
        )
        chosen = {
            "fold": fold.name,
            "seed": seed,
            "point": protocol.tried.index(points[place]),
            **_record(fits[place]),
        }
        chosen["tried"] = [{"head": p.head.to_json(), **_record(fit)} for p, fit in zip(points, fits, strict=True)]
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


def neighbour_votes(known: Labelled, asked: TokenSet, classes: int, config: NeighbourConfig) -> NDArray[np.float32]:
    """Return each class's votes among the k training clips of the largest cosine.

    Weights are a softmax over the neighbours' cosines divided by the temperature, so the votes of a single-label clip
    sum to 1.

    Args:
        known: training clips with class numbers `(n,)`, or zeros and ones `(n, C)`.
        asked: `m` clips to predict.
        classes: C.
        config: k and temperature.

    Returns:
        `(m, C)` float32.

    Raises:
        ConfigError: a vector is not finite.
    """
    probe = KitHeadConfig(source="mean").build(
        known.tokens.shape, classes, settings=1, generator=torch.Generator().manual_seed(0)
    )
    unit = []
    for tokens in (known.tokens, asked):
        vectors = torch.cat([inputs.x for inputs in Feed(tokens, probe, memory_mb=0).all()])
        if not bool(vectors.isfinite().all()):
            raise ConfigError("the tokens of a clip are not finite; exclude it or fix the encoder")
        unit.append(F.normalize(vectors, dim=1))
    y = F.one_hot(known.targets, classes) if known.targets.dim() == 1 else known.targets
    near, places = (unit[1] @ unit[0].t()).topk(min(config.k, len(unit[0])), dim=1)
    weights = (near / config.temperature).softmax(1)
    votes: NDArray[np.float32] = torch.einsum("mk,mkc->mc", weights, y.float()[places]).numpy()
    return votes


def _record(fit: KitFit) -> dict[str, Any]:
    validation = fit.score if np.isfinite(fit.score) else None
    return {"lr": fit.lr, "validation": validation, "epoch": fit.at, "epochs": fit.trained, "raced_out": fit.raced_out}


def _kit_scores(metric: str, predictions: ClipPredictions) -> dict[str, Any]:
    """Return the score as the kit prints it: the mean over folds and seeds, and their deviations."""
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
