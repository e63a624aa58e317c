"""Clustering of clip vectors, compared with labels that the clustering never sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering, KMeans

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.clustering.answers import ClusteringPredictions
from auricle.tasks.clustering.rule import ClusteringRule
from auricle.tasks.targets import labels_of, make_targets, source_groups
from auricle.tasks.task_type import Job, Outcome, TaskPlan, TaskType
from auricle.tasks.vectors import CosineConfig
from auricle.words import counted


@dataclass(frozen=True)
class ClustererConfig(Config):
    """A clustering method.

    Attributes:
        method: `kmeans`: once for each seed, ten starts each; `ward`: agglomerative, deterministic.
        prepare: preparation of the vectors (`CosineConfig.prepare`, learnt on the clips themselves, without labels);
            prepared vectors have length one.
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
    """All single-label clips are clustered by their vectors; the clusters are compared with the labels."""

    name: ClassVar[str] = ClusteringRule.type_name
    probes: ClassVar[dict[str, Config]] = {
        "kmeans": ClustererConfig(),
        "kmeans_plain": ClustererConfig(prepare="none"),
        "ward": ClustererConfig("ward"),
    }
    default_probes: ClassVar[tuple[str, ...]] = ("kmeans", "ward")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        targets = make_targets(card, labels_of(card, corpus))
        if targets.kind != "single":
            raise CorpusError(f"clips of task {card.name!r} carry several labels; clustering expects one each")
        count = card.rule_as(ClusteringRule).clusters or len(targets.classes)
        if len(targets.rows) < count:
            raise CorpusError(
                f"{len(targets.rows)} labelled clips for {count} clusters; expected at least as many clips"
            )
        groups = source_groups(card, corpus, targets.rows)
        description = f"all clips in {counted(count, 'cluster')}, without labels"
        return TaskPlan(targets.rows, "clustering", description, groups, targets.notes, (targets, count))

    def run(self, job: Job) -> Outcome:
        targets, count = job.plan.payload
        probe, present = job.probe_as(ClustererConfig), job.present
        readable = int(present.sum())
        if readable < count:
            raise CorpusError(f"{readable} clips can be read, for {count} clusters; repair the corrupt recordings")
        x = job.tokens().pooled
        seeds = job.protocol.seeds if probe.method == "kmeans" else job.protocol.seeds[:1]
        found = []
        for i, seed in enumerate(seeds, 1):
            found.append(probe.clusters(x, count, seed))
            job.progress(i / len(seeds))
        predictions = ClusteringPredictions(
            names=job.clip_names[present],
            group=job.plan.groups[present],
            fold=np.zeros(readable, dtype=np.int64),
            seeds=tuple(seeds),
            truth=targets.numbers[present],
            clusters=np.stack(found),
            classes=targets.classes,
        )
        return Outcome(
            predictions=predictions,
            fold_names=["all"],
            sizes=[[0, 0, readable]],
            units_total=len(present),
            settings={"probe": probe.to_json(), "vectors": "pooled", "clusters": count},
        )
