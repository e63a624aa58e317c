"""Do 95 % intervals cover, and how often is a difference of two equally good systems called clear?

    python benchmarks/reliability/intervals.py > intervals.txt

Draws test sets from populations whose sources differ (in difficulty, and in which system they suit), scores them with
the functions that score every result, and counts. Coverage is of the mean score of such test sets. Seeded; a few
minutes on one core. The table is in `intervals.md`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.results.predictions import TaskPredictions
from auricle.results.scoring import compare_predictions, interval_of
from auricle.tasks.anomaly.answers import AnomalyPredictions
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clustering.answers import ClusteringPredictions
from auricle.tasks.events.answers import EventPredictions
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.regression.answers import RegressionPredictions
from auricle.tasks.retrieval.answers import MEASURED, RetrievalPredictions
from auricle.tasks.sequence.answers import Transcripts
from auricle.tasks.verification.answers import VerificationPredictions

Draw = np.random.Generator
Pair = tuple[TaskPredictions, TaskPredictions]
SHARES = np.array([0.55, 0.25, 0.15, 0.05])  # of four classes
# Clips and sources; as many sources as clips: independent clips.
FEW = ((200, 4), (200, 5), (200, 6), (200, 8), (200, 12), (200, 20))
DESIGNS = ((200, 6), (200, 12), (200, 20), (20, 20), (50, 50))
RANKED = (*DESIGNS, (200, 200))


@dataclass(frozen=True)
class Population:
    """A kind of test set: `make(generator, clips, sources)` predicts it by two equally good systems."""

    make: Callable[[Draw, int, int], Pair]
    metrics: tuple[str, ...]
    designs: tuple[tuple[int, int], ...] = DESIGNS
    draws: int = 400


@dataclass(frozen=True)
class Found:
    """Counts of one metric and design: `told` of `draws` intervals exist, `covered` of these cover, `clear` pairs."""

    told: int
    covered: int
    clear: int
    draws: int
    width: float


def simulate(population: Population, metric: str, clips: int, sources: int, draws: int, seed: int = 0) -> Found:
    """Draw test sets and count."""
    generator = np.random.default_rng([seed, clips, sources])
    values, intervals, clear = [], [], 0
    for _ in range(draws):
        pair = population.make(generator, clips, sources)
        ones = np.ones((1, clips))
        values += [float(one.measure(metric, ones)[0, 0]) for one in pair]
        intervals.append(interval_of(pair[0], metric))
        clear += compare_predictions(*pair, metric).clear
    expected = float(np.nanmean(values))
    told = [i for i in intervals if i.known]
    covered = sum(i.low <= expected <= i.high for i in told)
    width = float(np.median([i.high - i.low for i in told])) if told else math.nan
    return Found(len(told), covered, clear, len(intervals), width)


def units(clips: int, sources: int) -> dict[str, Any]:
    """Fields that all predictions share; sources have nearly equal numbers of clips."""
    names = np.arange(clips).astype(np.str_)
    return {"names": names, "group": (np.arange(clips) % sources).astype(np.str_), "fold": np.zeros(clips, np.int64)}


def of_source(draw: Draw, clips: int, sources: int, spread: float) -> NDArray[np.float64]:
    """A normal effect of each clip's source."""
    effect: NDArray[np.float64] = draw.normal(0, spread, sources)[np.arange(clips) % sources]
    return effect


def chance(logit: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Logistic function."""
    share: NDArray[np.float64] = 1 / (1 + np.exp(-np.asarray(logit)))
    return share


def labelled(clips: int, sources: int, truth: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> Any:
    """Single-label predictions."""
    eye = np.eye(classes, dtype=bool)
    return ClipPredictions(
        **units(clips, sources), seeds=(0,), kind="single", classes=tuple("abcdefgh"[:classes]), truth=eye[truth],
        scores=eye[said].astype(np.float32)[None],
    )  # fmt: skip


def of_accuracy(shares: Callable[[Draw, int], NDArray[np.float64] | float]) -> Callable[[Draw, int, int], Pair]:
    """Clips that a system gets right with the accuracy of their source; `shares` draws those of some sources."""

    def make(draw: Draw, clips: int, sources: int) -> Pair:
        truth = draw.integers(0, 2, clips)
        made = []
        for _ in "ab":
            accuracy = np.broadcast_to(shares(draw, sources), sources)[np.arange(clips) % sources]
            made.append(labelled(clips, sources, truth, truth ^ (draw.random(clips) >= accuracy), 2))
        return made[0], made[1]

    return make


def unbalanced(draw: Draw, clips: int, sources: int, *, tied: float = 0.0) -> Pair:
    """Four classes of unequal size; `tied`: share of the clips whose class is their source's own."""
    own = draw.choice(4, sources, p=SHARES)[np.arange(clips) % sources]
    truth = np.where(draw.random(clips) < tied, own, draw.choice(4, clips, p=SHARES))
    made = []
    for _ in "ab":
        right = draw.random(clips) < chance(1.2 + of_source(draw, clips, sources, 0.8))
        made.append(labelled(clips, sources, truth, np.where(right, truth, draw.choice(4, clips, p=SHARES)), 4))
    return made[0], made[1]


def tied(draw: Draw, clips: int, sources: int) -> Pair:
    """As `unbalanced`, with classes that most sources have few of."""
    return unbalanced(draw, clips, sources, tied=0.7)


def tagged(draw: Draw, clips: int, sources: int) -> Pair:
    """Six labels, each of a sixth of the clips."""
    truth = draw.random((clips, 6)) < 0.15
    truth[0] = True
    made = []
    for _ in "ab":
        skill = 1.5 * np.exp(of_source(draw, clips, sources, 0.4))[:, None]
        scores = (truth * skill + draw.normal(size=(clips, 6))).astype(np.float32)
        made.append(
            ClipPredictions(
                **units(clips, sources),
                seeds=(0,),
                kind="multi",
                classes=tuple("abcdef"),
                truth=truth,
                scores=scores[None],
            )
        )
    return made[0], made[1]


def scored(draw: Draw, clips: int, sources: int) -> tuple[NDArray[np.bool_], list[NDArray[np.float64]]]:
    """Scores of two kinds of clips by two systems, with shifts and skill by source."""
    target = draw.random(clips) < 0.4
    target[:2] = True, False
    made = []
    for _ in "ab":
        skill = 1.5 * np.exp(of_source(draw, clips, sources, 0.4))
        made.append(target * skill + of_source(draw, clips, sources, 0.5) + draw.normal(size=clips))
    return target, made


def trials(draw: Draw, clips: int, sources: int) -> Pair:
    """Verification trials."""
    target, made = scored(draw, clips, sources)
    return tuple(
        VerificationPredictions(**units(clips, sources), seeds=(0,), target=target, scores=s[None], target_prior=0.05)
        for s in made
    )  # type: ignore[return-value]


def anomalies(draw: Draw, clips: int, sources: int) -> Pair:
    """Normal and anomalous clips of one machine."""
    strange, made = scored(draw, clips, sources)
    return tuple(
        AnomalyPredictions(
            **units(clips, sources), seeds=(0,), anomalous=strange, scores=s[None], model=np.zeros(clips, np.int64),
            models=("fan",), max_false_positives=0.1,
        )
        for s in made
    )  # fmt: skip  # type: ignore[return-value]


def clusters(draw: Draw, clips: int, sources: int) -> Pair:
    """Clusters that mostly agree with four classes."""
    truth = draw.choice(4, clips, p=SHARES)
    made = []
    for _ in "ab":
        right = draw.random(clips) < chance(1.5 + of_source(draw, clips, sources, 0.8))
        said = np.where(right, truth, draw.integers(0, 4, clips))[None]
        made.append(
            ClusteringPredictions(
                **units(clips, sources), seeds=(0,), truth=truth, clusters=said, classes=tuple("abcd")
            )
        )
    return made[0], made[1]


def numbers(draw: Draw, clips: int, sources: int) -> Pair:
    """Numbers predicted with a bias and a noise of each source."""
    truth = draw.normal(size=clips) + of_source(draw, clips, sources, 0.7)
    made = []
    for _ in "ab":
        noise = np.exp(of_source(draw, clips, sources, 0.4)) * 0.7 * draw.normal(size=clips)
        said = 0.8 * truth + of_source(draw, clips, sources, 0.5) + noise
        made.append(
            RegressionPredictions(**units(clips, sources), seeds=(0,), truth=truth, predicted=said[None], unit="")
        )
    return made[0], made[1]


def queries(draw: Draw, clips: int, sources: int) -> Pair:
    """Retrieval whose difficulty depends on the source of the query."""
    made = []
    for _ in "ab":
        mean = chance(0.7 + of_source(draw, clips, sources, 0.8))
        average = draw.beta(2 * mean, 2 * (1 - mean))
        hits = (draw.random((5, clips)) < mean).astype(np.float64)
        values = np.stack([average, *hits], axis=1)[None, :, : len(MEASURED)]
        made.append(
            RetrievalPredictions(**units(clips, sources), seeds=(0,), relevant=np.full(clips, 3), values=values)
        )
    return made[0], made[1]


def utterances(draw: Draw, clips: int, sources: int) -> Pair:
    """Transcripts of four to twelve phones with substitutions."""
    words = np.array(list("abcdefgh"))
    texts = [draw.integers(0, 8, draw.integers(4, 13)) for _ in range(clips)]
    truth = np.array([" ".join(words[text]) for text in texts])
    made = []
    for _ in "ab":
        rates = chance(-1.5 + of_source(draw, clips, sources, 0.6))
        said = [
            np.where(draw.random(len(text)) < rate, 7 - text, text) for text, rate in zip(texts, rates, strict=True)
        ]
        found = np.array([[" ".join(words[text]) for text in said]])
        made.append(Transcripts(**units(clips, sources), seeds=(0,), truth=truth, said=found, unit="phones"))
    return made[0], made[1]


@cache
def no_events(clips: int, sources: int) -> EventPredictions:
    """Clips without any event."""
    return EventPredictions.count(
        rule=EventsRule(psds=False), classes=("a", "b", "c"), seconds=np.full(clips, 10.0), truth=[[]] * clips,
        said=[[[]] * clips], scores=[[np.zeros((0, 3))] * clips], rate=10.0, seeds=(0,), **units(clips, sources),
    )  # fmt: skip


def events(draw: Draw, clips: int, sources: int) -> Pair:
    """Counts of events of three classes, found or missed by source, with false alarms."""
    reference, none = draw.poisson([1.5, 0.8, 0.3], (clips, 3)), no_events(clips, sources)
    made = []
    for _ in "ab":
        hits = draw.binomial(reference, chance(1.0 + of_source(draw, clips, sources, 0.8))[:, None])
        table = np.stack([hits, reference, hits + draw.poisson(0.3, (clips, 3))], axis=-1)[None].astype(np.float64)
        missed, extra = (reference - hits).sum(1), (table[0, :, :, 2] - hits).sum(1)
        error = np.stack([0 * missed, missed, extra], axis=-1)[None].astype(np.float64)
        made.append(replace(none, tables=dict.fromkeys(none.tables, table), errors=dict.fromkeys(none.errors, error)))
    return made[0], made[1]


def frames(draw: Draw, clips: int, sources: int) -> Pair:
    """Frame scores of a lasting sound in four seconds of each second clip."""
    truth = [[(1.0, 3.0, "a")] if i % 2 else [] for i in range(clips)]
    made = []
    for _ in "ab":
        skill = np.exp(of_source(draw, clips, sources, 0.5))
        tables = []
        for clip, strength in zip(truth, skill, strict=True):
            table = draw.normal(0, 0.25, (40, 1))
            table[10:30] += 0.4 * strength * bool(clip)
            tables.append(chance(4 * table - 1).astype(np.float32))
        made.append(
            EventPredictions.count(
                rule=EventsRule(),
                classes=("a",),
                seconds=np.full(clips, 4.0),
                truth=truth,
                said=[[[]] * clips],
                scores=[tables],
                rate=10.0,
                seeds=(0,),
                **units(clips, sources),
            )
        )
    return made[0], made[1]


POPULATIONS: dict[str, Population] = {
    **{
        f"independent clips, accuracy {share:g}": Population(
            of_accuracy(lambda draw, sources, share=share: share), ("accuracy",), ((20, 20), (50, 50)), 1000
        )
        for share in (0.5, 0.8, 0.9, 0.95, 0.98)
    },
    **{
        f"accuracies of sources: beta({a:g}, {b:g})": Population(
            of_accuracy(lambda draw, sources, a=a, b=b: draw.beta(a, b, sources)), ("accuracy",), FEW, 1000
        )
        for a, b in ((4, 1), (2, 2), (9, 1), (20, 5))
    },
    "four unequal classes": Population(unbalanced, ("balanced_accuracy", "macro_f1")),
    "classes tied to sources": Population(tied, ("balanced_accuracy", "macro_f1"), FEW),
    "tags": Population(tagged, ("mAP", "macro_auc")),
    "verification": Population(trials, ("eer", "auc", "min_dcf"), RANKED),
    "anomalies": Population(anomalies, ("pauc",), RANKED),
    "numbers": Population(numbers, ("r2", "pearson", "spearman", "mae", "rmse")),
    "retrieval": Population(queries, ("recall_at_1", "map_retrieval")),
    "clusters": Population(clusters, ("ari", "nmi"), FEW[2:]),
    "utterances": Population(utterances, ("per",), ((200, 6), (200, 20), (50, 50)), 200),
    "events": Population(events, ("segment_f1", "event_f1_macro", "event_error_rate")),
    "frames": Population(frames, ("psds1",), ((48, 6), (48, 16)), 60),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, help="test sets of each row; by default 60 to 1000, as rows take time")
    parser.add_argument("--only", nargs="+", default=list(POPULATIONS), choices=list(POPULATIONS), help="populations")
    parser.add_argument("--metrics", nargs="+", help="only rows of these metrics")
    args = parser.parse_args(argv)
    print("| population | metric | clips | sources | intervals | coverage | clear | median width | draws |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, population in POPULATIONS.items():
        if name not in args.only:
            continue
        for metric in population.metrics:
            if args.metrics and metric not in args.metrics:
                continue
            for clips, sources in population.designs:
                found = simulate(population, metric, clips, sources, args.draws or population.draws)
                covered = f"{found.covered / found.told:.3f}" if found.told else "-"
                shown = "none" if not found.told else f"{found.told / found.draws:.0%}"
                width = "-" if math.isnan(found.width) else f"{found.width:.3f}"
                rate = f"{found.clear / found.draws:.3f}"
                cells = (name, metric, clips, sources, shown, covered, rate, width, found.draws)
                print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
