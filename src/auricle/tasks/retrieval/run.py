"""Retrieval by example on clip vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.metrics.retrieval import retrieval_of_queries
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import TEST
from auricle.tasks.retrieval.answers import MEASURED, RetrievalPredictions
from auricle.tasks.retrieval.rule import RetrievalRule
from auricle.tasks.targets import cells, labels_of, make_targets, source_groups
from auricle.tasks.task_type import Job, Outcome, TaskPlan, TaskType
from auricle.tasks.vectors import COSINES, CosineConfig
from auricle.words import counted


class RetrievalTask(TaskType):
    """Each test clip is a query; clips of other sources are ranked by similarity; those with its label are relevant."""

    name: ClassVar[str] = RetrievalRule.type_name
    probes: ClassVar[dict[str, Config]] = COSINES
    default_probes: ClassVar[tuple[str, ...]] = ("cosine", "cosine_centred", "cosine_whitened")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        targets = make_targets(card, labels_of(card, corpus))
        splits = np.array([str(s).lower() for s in cells(corpus, "split", targets.rows)])
        # With `folds` every clip is a query, whatever split the corpus names.
        test = np.isin(splits, TEST) & (card.protocol != "folds")
        tested = np.flatnonzero(test) if test.any() else np.arange(len(targets.rows))
        others = np.flatnonzero(~test) if test.any() else np.array([], dtype=np.int64)
        order = np.concatenate([tested, others])
        rows, truth = targets.rows[order], targets.truth[order]
        groups = source_groups(card, corpus, rows)
        if not _relevant(truth[: len(tested)], groups[: len(tested)]).any():
            raise CorpusError(
                f"no two clips of different sources share a label in task {card.name!r}; retrieval needs some that do"
            )
        side = "the test clips" if test.any() else "all clips"
        description = f"{side} are queries and gallery; clips of the query's own source are excluded"
        notes = targets.notes
        if not test.any():
            notes += ("there is no split: preparation of vectors is learnt from the queries, without their labels",)
        return TaskPlan(rows, "queries", description, groups, notes, (truth, len(tested)))

    def run(self, job: Job) -> Outcome:
        truth, count = job.plan.payload
        probe, present, depth = job.probe_as(CosineConfig), job.present, job.card.rule_as(RetrievalRule).depth
        tested, known = np.flatnonzero(present[:count]), count + np.flatnonzero(present[count:])
        learnt_from = known if len(known) else tested
        learnt = job.tokens(learnt_from if probe.learns else learnt_from[:0]).pooled
        vectors = probe.fit(learnt)(job.tokens(tested).pooled)
        groups = job.plan.groups[tested]
        relevant = _relevant(truth[tested], groups)
        queries = np.flatnonzero(relevant.any(1))
        if not len(queries):
            raise CorpusError("no query has a relevant clip among those that can be read; repair the corrupt files")
        values = np.stack([_score(vectors, groups, relevant[q], int(q), depth) for q in queries])
        # A random order, by the same steps.
        order = np.random.default_rng(0).normal(size=(len(vectors), 16))
        random = np.stack([_score(order, groups, relevant[q], int(q), depth) for q in queries])
        lone = count - len(queries) - int((~present[:count]).sum())
        predictions = RetrievalPredictions(
            names=job.clip_names[tested][queries],
            group=groups[queries],
            fold=np.zeros(len(queries), dtype=np.int64),
            seeds=(0,),
            relevant=relevant[queries].sum(1),
            values=values[None],
        )
        job.progress(1.0)
        notes = [f"no queries: {counted(lone, 'clip')} whose labels no other source has"] if lone else []
        return Outcome(
            predictions=predictions,
            fold_names=["queries"],
            sizes=[[len(known), 0, len(tested)]],
            units_total=count,
            settings={"probe": probe.to_json(), "vectors": "pooled", "learnt_from": len(learnt), "depth": depth},
            notes=[*notes, *probe.notes(learnt)],
            constant=("random order", replace(predictions, values=random[None])),
        )


def _relevant(truth: NDArray[np.bool_], groups: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return which clips are relevant to which `(n, n)`: a label in common, another source."""
    shared = (truth.astype(np.float32) @ truth.T.astype(np.float32)) > 0
    relevant: NDArray[np.bool_] = shared & (groups[:, None] != groups[None])
    return relevant


def _score(
    vectors: NDArray[np.float64], groups: NDArray[np.str_], relevant: NDArray[np.bool_], query: int, depth: int
) -> NDArray[np.float64]:
    """Return the metrics of one query in the order of `MEASURED`."""
    gallery = np.flatnonzero(groups != groups[query])
    similar = vectors[gallery] @ vectors[query]
    found = retrieval_of_queries(similar[None], relevant[None, gallery], depth=depth)
    return np.array([found[name][0] for name in MEASURED])
