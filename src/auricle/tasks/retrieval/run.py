"""Retrieval by example on clip vectors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.metrics.retrieval import retrieval_of_queries
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import TEST
from auricle.tasks.retrieval.answers import MEASURED, RetrievalPredictions, RetrievalRule
from auricle.tasks.targets import make_targets
from auricle.tasks.task_type import Job, Outcome, TaskPlan, TaskType, cells, labels_of, source_groups
from auricle.tasks.vector_readers import COSINES, CosineConfig, few_notes


class RetrievalTask(TaskType):
    """Each test clip asks; clips of other sources answer, nearest first; a shared label makes an answer right."""

    name: ClassVar[str] = "retrieval"
    probes: ClassVar[dict[str, Config]] = COSINES
    default_probes: ClassVar[tuple[str, ...]] = ("cosine", "cosine_centred", "cosine_whitened")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Find the queries.

        Raises:
            CorpusError: no labels, or no label that two sources share.
        """
        targets = make_targets(card, labels_of(card, corpus))
        splits = np.array([str(s).lower() for s in cells(corpus, "split", targets.rows)])
        # `folds` says that every clip shall judge once, whatever split the corpus names.
        test = np.isin(splits, TEST) & (card.protocol != "folds")
        asked = np.flatnonzero(test) if test.any() else np.arange(len(targets.rows))
        others = np.flatnonzero(~test) if test.any() else np.array([], dtype=np.int64)
        order = np.concatenate([asked, others])
        rows, truth = targets.rows[order], targets.truth[order]
        groups = source_groups(card, corpus, rows)
        if not _relevant(truth[: len(asked)], groups[: len(asked)]).any():
            raise CorpusError(
                f"no two clips of different sources share a label in task {card.name!r}; retrieval needs some that do"
            )
        side = "the test clips" if test.any() else "all clips"
        words = f"{side} ask and answer; clips of the query's own source are left out"
        notes = [*targets.notes]
        if not test.any():
            notes.append("there is no split: readers learn from the clips that are judged, without their labels")
        return TaskPlan(rows, "queries", words, groups, tuple(notes), (truth, len(asked)))

    def run(self, job: Job) -> Outcome:
        """Rank the gallery for each query."""
        truth, asked = job.plan.payload
        probe = job.probe
        if not isinstance(probe, CosineConfig):
            raise ConfigError(f"{type(probe).__name__} ranks no clips; expected CosineConfig")
        here = job.here
        places, known = np.flatnonzero(here[:asked]), asked + np.flatnonzero(here[asked:])
        learnt_from = known if len(known) else places
        learnt = job.tokens(learnt_from if probe.learns else learnt_from[:0]).pooled
        vectors = probe.fit(learnt)(job.tokens(places).pooled)
        groups = job.plan.groups[places]
        relevant = _relevant(truth[places], groups)
        queries = np.flatnonzero(relevant.any(1))
        if not len(queries):
            raise CorpusError("no query has a relevant clip among those that can be read; mend the broken recordings")
        depth = _rule(job.card).depth
        values = np.stack([_score(vectors, groups, relevant[q], int(q), depth) for q in queries])
        lone = asked - len(queries) - int((~here[:asked]).sum())
        predictions = RetrievalPredictions(
            names=job.clip_names[places][queries],
            group=groups[queries],
            fold=np.zeros(len(queries), dtype=np.int64),
            seeds=(0,),
            relevant=relevant[queries].sum(1),
            values=values[None],
        )
        job.tell(1.0)
        return Outcome(
            predictions=predictions,
            fold_names=["queries"],
            sizes=[[len(known), 0, len(places)]],
            units_total=asked,
            settings={"reader": probe.to_json(), "vectors": "pooled", "learnt_from": len(learnt), "depth": depth},
            notes=[
                *([f"{lone} clips share their labels with no other source and do not ask"] if lone else []),
                *few_notes(probe, learnt),
            ],
        )


def _relevant(truth: NDArray[np.bool_], groups: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which clips `(n, n)` are right answers to which: a label in common, another source."""
    shared = (truth.astype(np.float32) @ truth.T.astype(np.float32)) > 0
    relevant: NDArray[np.bool_] = shared & (groups[:, None] != groups[None])
    return relevant


def _score(
    vectors: NDArray[np.float64], groups: NDArray[np.str_], relevant: NDArray[np.bool_], query: int, depth: int
) -> NDArray[np.float64]:
    """Return the metrics of one query in the order of `MEASURED`; clips of its own source are not ranked."""
    gallery = np.flatnonzero(groups != groups[query])
    similar = vectors[gallery] @ vectors[query]
    found = retrieval_of_queries(similar[None], relevant[None, gallery], depth=depth)
    return np.array([found[name][0] for name in MEASURED])


def _rule(card: TaskCard) -> RetrievalRule:
    rule: Any = card.rule
    if not isinstance(rule, RetrievalRule):
        raise ConfigError(f"task {card.name!r} has the rule {type(rule).__name__}; expected RetrievalRule")
    return rule
