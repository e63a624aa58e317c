"""Verification on clip vectors: one cosine for each trial."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config, nearest
from auricle.corpus.readers.side_tables import Trials, read_trials
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import TEST
from auricle.tasks.targets import source_groups
from auricle.tasks.task_type import Job, Outcome, TaskPlan, TaskType
from auricle.tasks.vectors import COSINES, CosineConfig
from auricle.tasks.verification.answers import VerificationPredictions
from auricle.tasks.verification.rule import VerificationRule
from auricle.words import counted


class VerificationTask(TaskType):
    """Cosine of the two clips of a trial; preparation is learnt from clips of identities outside the trials."""

    name: ClassVar[str] = VerificationRule.type_name
    probes: ClassVar[dict[str, Config]] = {**COSINES, "cosine_lda": CosineConfig("lda")}
    default_probes: ClassVar[tuple[str, ...]] = ("cosine", "cosine_centred", "cosine_whitened")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        rule = card.rule_as(VerificationRule)
        if rule.identity not in corpus.columns:
            raise CorpusError(
                f"corpus {corpus.name} has no column {rule.identity!r}, the identity of each clip; name another one "
                f"with --rule.identity{nearest(rule.identity, corpus.columns)}"
            )
        identities = np.array([str(v) for v in corpus.column(rule.identity)], dtype=np.str_)
        if rule.trials:
            trials, description = read_trials(corpus.root / rule.trials, corpus), f"the trials of {rule.trials}"
        else:
            drawn = _test_rows(corpus)
            if rule.made_of:
                names = np.random.default_rng(seed).permutation(np.unique(identities[drawn]))[: rule.made_of]
                drawn = drawn[np.isin(identities[drawn], names)]
            trials = make_trials(drawn, identities, rule.made, seed)
            count = len(trials.target)
            description = (
                f"{counted(count, 'trial')} drawn with seed {seed} from the test clips by column {rule.identity!r}"
            )
        tested = np.unique(np.concatenate([trials.enroll, trials.test]))
        known = np.flatnonzero(~np.isin(identities, identities[tested]))
        rows = np.concatenate([tested, known])
        groups = source_groups(card, corpus, rows)
        notes = tuple(trials.notes)
        if not len(known):
            notes += ("every identity occurs in the trials: probes that learn from other identities can't be used",)
        return TaskPlan(rows, "trials", description, groups, notes, (trials, len(tested), identities[rows]))

    def usual(self, plan: TaskPlan) -> tuple[str, ...]:
        return self.default_probes if len(plan.rows) - plan.payload[1] > 1 else ("cosine",)

    def check(self, probe: Config, plan: TaskPlan) -> None:
        known = len(plan.rows) - plan.payload[1]
        if isinstance(probe, CosineConfig) and probe.learns and known < 2:
            raise CorpusError(
                f"{known} known clips to learn {probe.prepare!r} from: every identity is in the trials; use the "
                "probe 'cosine', or add clips of other identities"
            )

    def run(self, job: Job) -> Outcome:
        trials, count, identities = job.plan.payload
        probe, present = job.probe_as(CosineConfig), job.present
        known = np.arange(count, len(job.plan.rows))[present[count:]]
        learnt = job.tokens(known if probe.learns else known[:0]).pooled
        prepare = probe.fit(learnt, identities[known])
        if job.keep is not None:
            facts = {"learnt": probe.learnt(learnt, identities[known]), "encoder": job.encoder.fingerprint}
            job.keep_heads("trials", (0,), [probe], [facts])
        place = {int(row): i for i, row in enumerate(job.plan.rows[:count])}
        sides = [np.array([place[int(r)] for r in rows]) for rows in (trials.enroll, trials.test)]
        kept = present[sides[0]] & present[sides[1]]
        if not trials.target[kept].any() or trials.target[kept].all():
            raise CorpusError("the trials whose clips can be read are all of one kind; repair the corrupt recordings")
        tested = np.flatnonzero(present[:count])
        prepared = prepare(job.tokens(tested).pooled)
        vectors = np.zeros((count, prepared.shape[1]))
        vectors[tested] = prepared
        enroll, test = sides[0][kept], sides[1][kept]
        names = job.clip_names
        predictions = VerificationPredictions(
            names=np.array([f"{a} | {b}" for a, b in zip(names[enroll], names[test], strict=True)], dtype=np.str_),
            group=identities[enroll],
            fold=np.zeros(len(enroll), dtype=np.int64),
            seeds=(0,),
            target=trials.target[kept],
            scores=(vectors[enroll] * vectors[test]).sum(1)[None],
            target_prior=job.card.rule_as(VerificationRule).target_prior,
        )
        job.progress(1.0)
        missed = int((~kept).sum())
        notes = [f"{missed} trials were excluded: a clip could not be read"] if missed else []
        return Outcome(
            predictions=predictions,
            fold_names=["trials"],
            sizes=[[len(known), 0, len(tested)]],
            units_total=len(kept),
            settings={"probe": probe.to_json(), "vectors": "pooled", "learnt_from": len(learnt)},
            notes=[*notes, *probe.notes(learnt)],
        )


def make_trials(rows: NDArray[np.int64], identities: NDArray[np.str_], count: int, seed: int) -> Trials:
    """Draw pairs of clips, half of the same identity, each pair once.

    Args:
        rows: clips to draw from.
        identities: `(corpus,)` identity of each clip.
        count: number of pairs.
        seed: of the draw.

    Raises:
        CorpusError: one identity only, or no identity with two clips.
    """
    generator = np.random.default_rng(seed)
    own = identities[rows]
    first, second = np.triu_indices(len(rows), 1)
    same = own[first] == own[second]
    if not same.any() or same.all():
        raise CorpusError(
            f"{len(rows)} test clips of {len(np.unique(own))} identities; trials need at least two identities, "
            "and one with two clips"
        )
    chosen = []
    for kind in (True, False):
        pairs = np.flatnonzero(same == kind)
        chosen.append(generator.permutation(pairs)[: min(len(pairs), count // 2)])
    pairs = np.sort(np.concatenate(chosen))
    return Trials(rows[first[pairs]], rows[second[pairs]], same[pairs])


def _test_rows(corpus: Corpus) -> NDArray[np.int64]:
    rows = [i for i, split in enumerate(corpus.column("split")) if str(split).lower() in TEST]
    return np.array(rows or range(len(corpus)), dtype=np.int64)
