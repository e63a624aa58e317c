"""Clustering of clip vectors, judged by labels that it never sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering, KMeans

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.clustering.answers import ClusteringPredictions, ClusteringRule
from auricle.tasks.targets import make_targets
from auricle.tasks.task_type import Job, Outcome, TaskPlan, TaskType, labels_of, source_groups
from auricle.tasks.vector_readers import CosineConfig


@dataclass(frozen=True)
class ClustererConfig(Config):
    """How vectors are grouped.

    Attributes:
        method: `kmeans`: once for each seed, ten starts each; `ward`: agglomerative, without chance.
        prepare: what is done to the vectors first (`CosineConfig.prepare`, learnt on the clips themselves, without
            labels); results have length one.
    """

    method: Literal["kmeans", "ward"] = "kmeans"
    prepare: Literal["none", "centre", "standardise", "whiten"] = "standardise"

    def clusters(self, x: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:
        """Return the cluster `(n,)` of each vector."""
        vectors = CosineConfig(self.prepare).fit(x)(x)
        if self.method == "ward":
            found = AgglomerativeClustering(count, linkage="ward").fit_predict(vectors)
        else:
            found = KMeans(count, n_init=10, random_state=seed).fit_predict(vectors)
        clusters: NDArray[np.int64] = np.asarray(found, dtype=np.int64)
        return clusters


class ClusteringTask(TaskType):
    """All single-label clips are grouped by their vectors; labels judge the groups."""

    name: ClassVar[str] = "clustering"
    probes: ClassVar[dict[str, Config]] = {
        "kmeans": ClustererConfig(),
        "kmeans_plain": ClustererConfig(prepare="none"),
        "ward": ClustererConfig("ward"),
    }
    default_probes: ClassVar[tuple[str, ...]] = ("kmeans", "ward")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Find labels and number of clusters.

        Raises:
            CorpusError: several labels a clip, or fewer clips than clusters.
        """
        targets = make_targets(card, labels_of(card, corpus))
        if targets.kind != "single":
            raise CorpusError(f"clips of task {card.name!r} carry several labels; clustering expects one each")
        count = _rule(card).clusters or len(targets.classes)
        if len(targets.rows) < count:
            raise CorpusError(
                f"{len(targets.rows)} labelled clips for {count} clusters; expected at least as many clips"
            )
        groups = source_groups(card, corpus, targets.rows)
        words = f"all clips in {count} clusters, labels only judge"
        return TaskPlan(targets.rows, "clustering", words, groups, targets.notes, (targets, count))

    def run(self, job: Job) -> Outcome:
        """Cluster all clips that could be read, once for each seed."""
        targets, count = job.plan.payload
        probe = job.probe
        if not isinstance(probe, ClustererConfig):
            raise ConfigError(f"{type(probe).__name__} makes no clusters; expected ClustererConfig")
        here = job.here
        if int(here.sum()) < count:
            raise CorpusError(
                f"{int(here.sum())} clips could be read, for {count} clusters; mend the broken recordings"
            )
        x = job.tokens().pooled
        seeds = job.protocol.seeds if probe.method == "kmeans" else job.protocol.seeds[:1]
        found = []
        for i, seed in enumerate(seeds, 1):
            found.append(probe.clusters(x, count, seed))
            job.tell(i / len(seeds))
        predictions = ClusteringPredictions(
            names=job.clip_names[here],
            group=job.plan.groups[here],
            fold=np.zeros(int(here.sum()), dtype=np.int64),
            seeds=tuple(seeds),
            truth=targets.numbers[here],
            clusters=np.stack(found),
            classes=targets.classes,
        )
        return Outcome(
            predictions=predictions,
            fold_names=["all"],
            sizes=[[0, 0, int(here.sum())]],
            units_total=len(here),
            settings={"reader": probe.to_json(), "vectors": "pooled", "clusters": count},
        )


def _rule(card: TaskCard) -> ClusteringRule:
    rule: Any = card.rule
    if not isinstance(rule, ClusteringRule):
        raise ConfigError(f"task {card.name!r} has the rule {type(rule).__name__}; expected ClusteringRule")
    return rule
