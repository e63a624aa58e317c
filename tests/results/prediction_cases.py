"""Small predictions of every type of task, and the records and folders that an evaluation would make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from test_record import record

from auricle.evaluation.audio_text.predictions import MEASURES, TextRetrievalPredictions, ZeroShotPredictions
from auricle.metrics.catalogue import METRICS
from auricle.results.predictions import TaskPredictions, save_predictions
from auricle.results.record import Result
from auricle.results.scoring import score
from auricle.tasks.anomaly.answers import AnomalyPredictions
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clustering.answers import ClusteringPredictions
from auricle.tasks.events.answers import EventPredictions
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.few_shot.answers import EpisodePredictions
from auricle.tasks.label_budget.answers import BudgetPredictions
from auricle.tasks.regression.answers import RegressionPredictions
from auricle.tasks.retrieval.answers import MEASURED, RetrievalPredictions
from auricle.tasks.sequence.answers import Transcripts
from auricle.tasks.verification.answers import VerificationPredictions

N = 24
CLASSES = ("Amsel", "Grünspecht", "two words")
WORDS = ("zero", "één", "acht", "drei")


def units(seeds: int = 2) -> dict[str, Any]:
    """Names with spaces and umlauts, eight sources, two folds."""
    return {
        "names": np.array([f"aufnahmen/vögel {i:02d}.wav@0" for i in range(N)]),
        "group": np.array([f"ort {i % 8}" for i in range(N)]),
        "fold": np.arange(N) // (N // 2),
        "seeds": tuple(range(seeds)),
    }


def labels(kind: str, noise: float, draw: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    truth = np.eye(3, dtype=bool)[np.arange(N) % 3]
    if kind == "multi":
        truth |= np.eye(3, dtype=bool)[np.arange(N) % 2]
    return truth, (truth + noise * draw.normal(size=(2, N, 3))).astype(np.float32)


def clips(noise: float, draw: np.random.Generator, kind: str = "single") -> ClipPredictions:
    truth, scores = labels(kind, noise, draw)
    return ClipPredictions(**units(), kind=kind, classes=CLASSES, truth=truth, scores=scores)  # type: ignore[arg-type]


def tags(noise: float, draw: np.random.Generator) -> ClipPredictions:
    return clips(noise, draw, "multi")


def zero_shot(noise: float, draw: np.random.Generator) -> ZeroShotPredictions:
    truth, scores = labels("single", noise, draw)
    scores = scores[:1].astype(np.float64)
    return ZeroShotPredictions(**units(1), kind="single", classes=CLASSES, truth=truth, scores=scores)


def budget(noise: float, draw: np.random.Generator) -> BudgetPredictions:
    curve = [clips(noise * more, draw) for more in (2.0, 1.0)]
    return BudgetPredictions.join((1, 5), curve)


def few_shot(noise: float, draw: np.random.Generator) -> EpisodePredictions:
    truth = np.tile(np.array([0, 0, 1, 1], dtype=np.int32), (N, 1))
    wrong = draw.random((2, N, 4)) < noise / 3
    return EpisodePredictions(
        **units(), classes=CLASSES, truth=truth, said=np.where(wrong, 1 - truth, truth), ways=2, shots=1
    )


def regression(noise: float, draw: np.random.Generator) -> RegressionPredictions:
    truth = np.linspace(40.0, 80.0, N)
    return RegressionPredictions(
        **units(), truth=truth, predicted=truth + noise * draw.normal(size=(2, N)), unit="semitones"
    )


def verification(noise: float, draw: np.random.Generator) -> VerificationPredictions:
    target = np.arange(N) % 3 == 0
    return VerificationPredictions(
        **units(1), target=target, scores=target + noise * draw.normal(size=(1, N)), target_prior=0.05
    )


def anomaly(noise: float, draw: np.random.Generator) -> AnomalyPredictions:
    strange = np.arange(N) % 2 == 0
    scores = strange + noise * draw.normal(size=(1, N))
    return AnomalyPredictions(
        **units(1), anomalous=strange, scores=scores, model=np.arange(N) // 6 % 2, models=("fan", "pump 2"),
        max_false_positives=0.1,
    )  # fmt: skip


def clustering(noise: float, draw: np.random.Generator) -> ClusteringPredictions:
    truth = np.arange(N) % 3
    moved = draw.random((2, N)) < noise / 3
    clusters = np.where(moved, draw.integers(0, 4, (2, N)), truth)
    return ClusteringPredictions(**units(), truth=truth, clusters=clusters, classes=CLASSES)


def retrieval(noise: float, draw: np.random.Generator) -> RetrievalPredictions:
    values = np.clip(1 - noise * draw.random((1, N, len(MEASURED))), 0, 1)
    return RetrievalPredictions(**units(1), relevant=np.full(N, 3), values=values)


def text_retrieval(noise: float, draw: np.random.Generator) -> TextRetrievalPredictions:
    values = np.clip(1 - noise * draw.random((1, N, len(MEASURES))), 0, 1)
    return TextRetrievalPredictions(**units(1), relevant=np.full(N, 1), values=values)


def sequence(noise: float, draw: np.random.Generator) -> Transcripts:
    truth = np.array([f"{WORDS[i % 4]} {WORDS[i % 3]}" for i in range(N)])
    wrong = draw.random((2, N)) < noise / 3
    return Transcripts(**units(), truth=truth, said=np.where(wrong, "zero", truth), unit="characters")


def events(noise: float, draw: np.random.Generator) -> EventPredictions:
    truth = [[(0.5, 1.5, CLASSES[i % 3])] if i % 4 else [] for i in range(N)]
    said, scores = [], []
    for _ in range(2):
        late = draw.random(N) < noise / 3
        moved = [[(a + late[i], b + late[i], c) for a, b, c in clip] for i, clip in enumerate(truth)]
        said.append(moved)
        tables = np.zeros((N, 30, 3), dtype=np.float32)
        for i, clip in enumerate(moved):
            for a, b, c in clip:
                tables[i, round(10 * a) : round(10 * b), CLASSES.index(c)] = 1
        scores.append(list(np.clip(tables + 0.1 * draw.normal(size=tables.shape), 0, 1).astype(np.float32)))
    shared = units()
    return EventPredictions.count(
        rule=EventsRule(), classes=CLASSES, names=shared["names"], group=shared["group"], fold=shared["fold"],
        seconds=np.full(N, 3.0), truth=truth, said=said, scores=scores, rate=10.0, seeds=shared["seeds"],
    )  # fmt: skip


MAKE: dict[str, Callable[[float, np.random.Generator], TaskPredictions]] = {
    "clips": clips, "tags": tags, "events": events, "sequence": sequence, "regression": regression,
    "verification": verification, "anomaly": anomaly, "retrieval": retrieval, "clustering": clustering,
    "few_shot": few_shot, "label_budget": budget, "zero_shot": zero_shot, "text_retrieval": text_retrieval,
}  # fmt: skip


def made(name: str, noise: float = 1.0, seed: int = 0) -> TaskPredictions:
    """Return predictions of a case; with more noise more of them are wrong."""
    return MAKE[name](noise, np.random.default_rng(seed))


def saved(folder: Path, name: str, encoder: str, predictions: TaskPredictions, **more: Any) -> Result:
    """Write predictions as an evaluation would, and return their record."""
    metric = predictions.metrics[0]
    found, place = score(predictions, metric), f"predictions/{name}-{encoder}.npz"
    save_predictions(folder / place, predictions)
    detail = {"kind": "", "classes": [], "per_class": {}, "confusion": None, "details": {}, **found.detail}
    about = METRICS[metric]
    made = record(
        task=f"{name} task", encoder=encoder, encoder_fingerprint=f"{encoder} print", probe="probe", metric=metric,
        value=found.value, low=found.interval.low, high=found.interval.high, interval=found.interval.method,
        metrics=found.metrics, per_fold=found.per_fold, per_seed=found.per_seed, values=found.values, clips=N,
        clips_total=N, seeds=list(predictions.seeds), corpus=f"corpus of {name}", corpus_fingerprint=f"print of {name}",
        predictions=place, key=f"{name} {encoder}", type_name=predictions.type_name, better=about.better,
        unit=about.unit, fold_names=["1", "2"], sizes=[[12, 0, 12]] * 2, protocol="folds", split="two folds",
        made="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return replace(made, **detail, **more)
