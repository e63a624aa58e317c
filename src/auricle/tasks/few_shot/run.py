"""Few-shot episodes, judged: a reader without a training loop learns each episode's classes from its shots alone."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.few_shot.answers import EpisodePredictions, Episodes, FewShotRule, draw_episodes
from auricle.tasks.folds import TEST
from auricle.tasks.shallow import (
    CentroidConfig,
    KnnConfig,
    LogisticConfig,
    RidgeConfig,
    TrainingFreeConfig,
    Vectors,
)
from auricle.tasks.targets import Targets, make_targets
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, cells, labels_of, source_groups


class FewShotTask(TaskType):
    """N-way K-shot episodes.

    An episode has no validation clips, so every reader comes with its settings: one neighbour, and for the closed
    forms one strength of the penalty (1 of scikit-learn's C; the number of shots for ridge), the same for
    every encoder.
    """

    name: ClassVar[str] = "few_shot"
    probes: ClassVar[dict[str, Config]] = {
        "centroid": CentroidConfig(),
        "logistic": LogisticConfig(strengths=(1.0,)),
        "knn": KnnConfig(k=1),
        "ridge": RidgeConfig(strengths=(1.0,)),
    }
    default_probes: ClassVar[tuple[str, ...]] = ("centroid", "logistic", "knn")

    def probe(self, asked: str | Config) -> tuple[str, Config]:
        """Return a reader's name and settings.

        Raises:
            ConfigError: unknown, or it leaves a choice to validation clips, which episodes do not have.
        """
        name, config = super().probe(asked)
        if isinstance(config, TrainingFreeConfig) and len(config.settings()) > 1:
            raise ConfigError(
                f"{type(config).__name__} holds {len(config.settings())} strengths to choose from, and an episode has "
                "no validation clips that could choose; give one"
            )
        return name, config

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Draw the episodes.

        Raises:
            CorpusError: clips with several labels, no test clips where they are asked for, or too few clips, classes
                or sources for the episodes.
        """
        rule = card.rule
        if not isinstance(rule, FewShotRule):
            raise ConfigError(f"task {card.name!r} has the rule {type(rule).__name__}; expected FewShotRule")
        targets = make_targets(card, labels_of(card, corpus))
        if targets.kind != "single":
            raise CorpusError(
                f"task {card.name!r} has clips with several labels; episodes need one label a clip: name such a column"
            )
        splits = [str(s or "").strip().lower() for s in cells(corpus, "split", targets.rows)]
        predictions = np.isin(splits, TEST)
        if rule.part == "test" and not predictions.any():
            raise CorpusError(f"the corpus of task {card.name!r} names no test clips; use part='all'")
        chosen = (
            predictions
            if rule.part == "test" or (rule.part == "auto" and predictions.any())
            else np.ones_like(predictions)
        )
        targets = Targets("single", targets.classes, targets.rows[chosen], targets.truth[chosen], targets.notes)
        groups = source_groups(card, corpus, targets.rows)
        episodes = draw_episodes(targets.numbers, groups, rule, np.random.default_rng(seed), targets.classes)
        part = "the test clips" if predictions.any() and chosen.sum() == predictions.sum() else "all clips"
        words = (
            f"{rule.episodes} episodes of {rule.ways} classes, {rule.shots} shots and {rule.queries} queries of each, "
            f"drawn with seed {seed} from {part}; no source on both sides of an episode"
        )
        used = np.unique(episodes.classes)
        missing = [name for c, name in enumerate(targets.classes) if c not in used]
        notes = [*targets.notes, "the interval speaks of other episodes of these clips, not of other clips"]
        if missing:
            notes.append(f"classes in no episode, for want of clips or sources: {', '.join(missing[:10])}")
        return TaskPlan(targets.rows, "episodes", words, groups, tuple(notes), (targets, episodes))

    def run(self, job: Job) -> Outcome:
        """Judge all episodes whose clips could be read.

        Raises:
            CorpusError: not one episode is left.
        """
        targets, drawn = job.plan.payload
        probe, rule = job.probe, job.card.rule
        if not isinstance(probe, TrainingFreeConfig) or not isinstance(rule, FewShotRule):
            raise ConfigError(f"{type(probe).__name__} reads no episodes; expected one of {', '.join(self.probes)}")
        here = job.here
        whole = here[drawn.support].all((1, 2)) & here[drawn.query].all((1, 2))
        if not whole.any():
            raise CorpusError(f"each of {len(drawn)} episodes needs a clip that can't be read; mend the corpus")
        episodes = drawn.select(whole)
        notes = [] if whole.all() else [f"{int((~whole).sum())} episodes need clips that can't be read: left out"]
        vectors = np.full((len(here), job.tokens().shape.pooled_width), np.nan, dtype=np.float32)
        vectors[here] = job.tokens().pooled

        def make() -> Kept:
            return {}, {"said": _said(probe, vectors, targets, episodes, job)}

        _, arrays = job.kept("episodes", make)
        names = job.clip_names
        answers = EpisodePredictions(
            names=np.array([_name(i, names, drawn) for i in np.flatnonzero(whole).tolist()], dtype=np.str_),
            group=np.array([f"episode {i}" for i in np.flatnonzero(whole).tolist()], dtype=np.str_),
            fold=np.zeros(len(episodes), dtype=np.int64),
            seeds=job.protocol.seeds[:1],
            classes=targets.classes,
            truth=_classes(episodes),
            said=arrays["said"][None],
            ways=rule.ways,
            shots=rule.shots,
        )
        job.tell(1.0)
        return Outcome(
            predictions=answers,
            fold_names=["episodes"],
            sizes=[[rule.ways * rule.shots, 0, rule.ways * rule.queries]],
            units_total=len(drawn),
            settings={"reader": probe.to_json(), "vectors": "pooled"},
            notes=notes,
        )


def _said(
    probe: TrainingFreeConfig, vectors: NDArray[np.float32], targets: Targets, episodes: Episodes, job: Job
) -> NDArray[np.int32]:
    """Return the class given to each query, `(E, Q)`."""
    setting = next(iter(probe.settings()), None)
    ways = episodes.classes.shape[1]
    said = np.empty((len(episodes), episodes.query[0].size), dtype=np.int32)
    for place, (classes, support, query) in enumerate(
        zip(episodes.classes, episodes.support, episodes.query, strict=True)
    ):
        truth = np.repeat(np.eye(ways, dtype=bool), support.shape[1], axis=0)
        known = Vectors(vectors[support.ravel()], truth, True)
        asked = vectors[query.ravel()]
        if not (np.isfinite(known.x).all() and np.isfinite(asked).all()):
            raise ConfigError(f"episode {place} holds embeddings that are not finite; mend the encoder")
        said[place] = classes[probe.scores(known, asked, setting).argmax(1)]
        if place % 20 == 0:
            job.tell(place / len(episodes))
    return said


def _classes(episodes: Episodes) -> NDArray[np.int32]:
    """Return the class of each query, `(E, Q)`."""
    classes: Any = np.repeat(episodes.classes, episodes.query.shape[2], axis=1)
    truth: NDArray[np.int32] = classes.astype(np.int32)
    return truth


def _name(place: int, clips: NDArray[np.str_], episodes: Episodes) -> str:
    """Name an episode by its number and its clips, so that equal names are equal episodes."""
    drawn = [*clips[episodes.support[place].ravel()], "|", *clips[episodes.query[place].ravel()]]
    return f"episode {place} {hashlib.sha256(chr(0).join(drawn).encode()).hexdigest()[:12]}"
