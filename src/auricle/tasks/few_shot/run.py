"""Few-shot episodes: a shallow classifier is fitted to the shots of each episode and scored on its queries."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.few_shot.answers import EpisodePredictions
from auricle.tasks.few_shot.episodes import Episodes, draw_episodes
from auricle.tasks.few_shot.rule import FewShotRule
from auricle.tasks.folds import TEST
from auricle.tasks.shallow import (
    CentroidConfig,
    KnnConfig,
    LogisticConfig,
    RidgeConfig,
    ShallowConfig,
    Vectors,
)
from auricle.tasks.targets import Targets, cells, labels_of, make_targets, source_groups
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType
from auricle.words import counted, was


class FewShotTask(TaskType):
    """N-way K-shot episodes.

    An episode has no validation clips, so settings are fixed: one neighbour, and one strength of the penalty (1 of
    scikit-learn's C; the number of shots for ridge), the same for every encoder.
    """

    name: ClassVar[str] = FewShotRule.type_name
    probes: ClassVar[dict[str, Config]] = {
        "centroid": CentroidConfig(),
        "logistic": LogisticConfig(strengths=(1.0,)),
        "knn": KnnConfig(k=1),
        "ridge": RidgeConfig(strengths=(1.0,)),
    }
    default_probes: ClassVar[tuple[str, ...]] = ("centroid", "logistic", "knn")

    def probe(self, asked: str | Config) -> tuple[str, Config]:
        name, config = super().probe(asked)
        if isinstance(config, ShallowConfig) and len(config.settings()) > 1:
            raise ConfigError(
                f"{type(config).__name__} has {len(config.settings())} strengths; expected one: an episode has no "
                "validation clips to choose with"
            )
        return name, config

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        rule = card.rule_as(FewShotRule)
        targets = make_targets(card, labels_of(card, corpus))
        if targets.kind != "single":
            raise CorpusError(
                f"task {card.name!r} has clips with several labels; episodes need one label a clip: name such a column"
            )
        splits = [str(s or "").strip().lower() for s in cells(corpus, "split", targets.rows)]
        test = np.isin(splits, TEST)
        if rule.part == "test" and not test.any():
            raise CorpusError(f"the corpus of task {card.name!r} names no test clips; set --rule.part all")
        chosen = test if rule.part == "test" or (rule.part == "auto" and test.any()) else np.ones_like(test)
        targets = Targets("single", targets.classes, targets.rows[chosen], targets.truth[chosen], targets.notes)
        groups = source_groups(card, corpus, targets.rows)
        episodes = draw_episodes(targets.numbers, groups, rule, np.random.default_rng(seed), targets.classes)
        part = "the test clips" if test.any() and chosen.sum() == test.sum() else "all clips"
        description = (
            f"{rule.episodes} episodes of {rule.ways} classes, {rule.shots} shots and {rule.queries} queries of each, "
            f"drawn with seed {seed} from {part}; no source on both sides of an episode"
        )
        used = np.unique(episodes.classes)
        missing = [name for c, name in enumerate(targets.classes) if c not in used]
        notes = [*targets.notes, "the interval covers other episodes of these clips, not other clips"]
        if missing:
            notes.append(f"classes in no episode, for lack of clips or sources: {', '.join(missing[:10])}")
        return TaskPlan(targets.rows, "episodes", description, groups, tuple(notes), (targets, episodes))

    def run(self, job: Job) -> Outcome:
        targets, drawn = job.plan.payload
        rule, present = job.card.rule_as(FewShotRule), job.present
        probe = job.probe_as(ShallowConfig)  # type: ignore[type-abstract]
        whole = present[drawn.support].all((1, 2)) & present[drawn.query].all((1, 2))
        if not whole.any():
            raise CorpusError(f"each of {len(drawn)} episodes needs a clip that can't be read; repair the corpus")
        episodes = drawn.select(whole)
        lost = int((~whole).sum())
        notes = [] if whole.all() else [f"{counted(lost, 'episode')} {was(lost)} excluded: a clip could not be read"]
        tokens = job.tokens()
        vectors = np.full((len(present), tokens.shape.pooled_width), np.nan, dtype=np.float32)
        vectors[present] = tokens.pooled

        def make() -> Kept:
            return {}, {"said": _predict(probe, vectors, episodes, job)}

        _, arrays = job.kept("episodes", make)
        names, numbers = job.clip_names, np.flatnonzero(whole).tolist()
        predictions = EpisodePredictions(
            names=np.array([_name(i, names, drawn) for i in numbers], dtype=np.str_),
            group=np.array([f"episode {i}" for i in numbers], dtype=np.str_),
            fold=np.zeros(len(episodes), dtype=np.int64),
            seeds=job.protocol.seeds[:1],
            classes=targets.classes,
            truth=_classes(episodes),
            said=arrays["said"][None],
            ways=rule.ways,
            shots=rule.shots,
        )
        job.progress(1.0)
        return Outcome(
            predictions=predictions,
            fold_names=["episodes"],
            sizes=[[rule.ways * rule.shots, 0, rule.ways * rule.queries]],
            units_total=len(drawn),
            settings={"probe": probe.to_json(), "vectors": "pooled"},
            notes=notes,
        )


def _predict(probe: ShallowConfig, vectors: NDArray[np.float32], episodes: Episodes, job: Job) -> NDArray[np.int32]:
    """Return the predicted class of each query, `(E, Q)`."""
    setting = next(iter(probe.settings()), None)
    ways = episodes.classes.shape[1]
    predicted = np.empty((len(episodes), episodes.query[0].size), dtype=np.int32)
    for number, (classes, support, query) in enumerate(
        zip(episodes.classes, episodes.support, episodes.query, strict=True)
    ):
        truth = np.repeat(np.eye(ways, dtype=bool), support.shape[1], axis=0)
        known = Vectors(vectors[support.ravel()], truth, True)
        queries = vectors[query.ravel()]
        if not (np.isfinite(known.x).all() and np.isfinite(queries).all()):
            raise ConfigError(f"episode {number} has embeddings that are not finite; fix the encoder")
        predicted[number] = classes[probe.scores(known, queries, setting).argmax(1)]
        if number % 20 == 0:
            job.progress(number / len(episodes))
    return predicted


def _classes(episodes: Episodes) -> NDArray[np.int32]:
    """Return the class of each query, `(E, Q)`."""
    classes: Any = np.repeat(episodes.classes, episodes.query.shape[2], axis=1)
    truth: NDArray[np.int32] = classes.astype(np.int32)
    return truth


def _name(number: int, clips: NDArray[np.str_], episodes: Episodes) -> str:
    """Name an episode by its number and its clips, so that episodes of equal names are equal."""
    drawn = [*clips[episodes.support[number].ravel()], "|", *clips[episodes.query[number].ravel()]]
    return f"episode {number} {hashlib.sha256(chr(0).join(drawn).encode()).hexdigest()[:12]}"
