"""Verification on clip vectors: one cosine a trial."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.readers.side_tables import Trials, read_trials
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import TEST
from auricle.tasks.task_type import Job, Outcome, TaskPlan, TaskType, source_groups
from auricle.tasks.vector_readers import COSINES, CosineConfig, few_notes
from auricle.tasks.verification.answers import VerificationPredictions, VerificationRule


class VerificationTask(TaskType):
    """Cosine of the two clips of a trial; what readers learn, they learn from clips of nobody in the trials."""

    name: ClassVar[str] = "verification"
    probes: ClassVar[dict[str, Config]] = {**COSINES, "cosine_lda": CosineConfig("lda")}
    default_probes: ClassVar[tuple[str, ...]] = ("cosine", "cosine_centred", "cosine_whitened")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Read the trials, or make them.

        Raises:
            CorpusError: the table is missing or names unknown clips, or too few identities to make trials of.
        """
        rule = _rule(card)
        if rule.identity not in corpus.columns:
            raise CorpusError(f"corpus {corpus.name} has no column {rule.identity!r} that says whose a clip is")
        whose = np.array([str(v) for v in corpus.column(rule.identity)], dtype=np.str_)
        if rule.trials:
            trials, words = read_trials(corpus.root / rule.trials, corpus), f"the trials of {rule.trials}"
        else:
            drawn = _test_rows(corpus)
            if rule.made_of:
                names = np.random.default_rng(seed).permutation(np.unique(whose[drawn]))[: rule.made_of]
                drawn = drawn[np.isin(whose[drawn], names)]
            trials = make_trials(drawn, whose, rule.made, seed)
            words = f"{len(trials.target)} trials made with seed {seed} from the test clips by column {rule.identity!r}"
        asked = np.unique(np.concatenate([trials.enroll, trials.test]))
        known = np.flatnonzero(~np.isin(whose, whose[asked]))
        rows = np.concatenate([asked, known])
        groups = source_groups(card, corpus, rows)
        notes = list(trials.notes)
        if not len(known):
            notes.append("every identity occurs in the trials: readers that learn from other identities can't be used")
        return TaskPlan(rows, "trials", words, groups, tuple(notes), (trials, len(asked), whose[rows]))

    def usual(self, plan: TaskPlan) -> tuple[str, ...]:
        """Leave out readers that learn, where every identity is in the trials."""
        known = len(plan.rows) - plan.payload[1]
        return self.default_probes if known > 1 else ("cosine",)

    def check(self, probe: Config, plan: TaskPlan) -> None:
        """Refuse readers that learn, where every identity is in the trials.

        Raises:
            CorpusError: there are no clips to learn from.
        """
        known = len(plan.rows) - plan.payload[1]
        if isinstance(probe, CosineConfig) and probe.learns and known < 2:
            raise CorpusError(
                f"{known} known clips to learn {probe.prepare!r} from: every identity is in the trials; use the "
                "reader 'cosine', or give clips of other identities"
            )

    def run(self, job: Job) -> Outcome:
        """Score all trials whose two clips could be read."""
        trials, asked, whose = job.plan.payload
        rule = _rule(job.card)
        probe = job.probe
        if not isinstance(probe, CosineConfig):
            raise ConfigError(f"{type(probe).__name__} scores no trials; expected CosineConfig")
        here = job.here
        known = np.arange(asked, len(job.plan.rows))[here[asked:]]
        learnt = job.tokens(known if probe.learns else known[:0]).pooled
        prepare = probe.fit(learnt, whose[known])
        place = {int(row): i for i, row in enumerate(job.plan.rows[:asked])}
        sides = [np.array([place[int(r)] for r in rows]) for rows in (trials.enroll, trials.test)]
        kept = here[sides[0]] & here[sides[1]]
        if not trials.target[kept].any() or trials.target[kept].all():
            raise CorpusError("the trials whose clips can be read are all of one kind; mend the broken recordings")
        places = np.flatnonzero(here[:asked])

        prepared = prepare(job.tokens(places).pooled)
        vectors = np.zeros((asked, prepared.shape[1]))
        vectors[places] = prepared
        enroll, test = sides[0][kept], sides[1][kept]
        scores = (vectors[enroll] * vectors[test]).sum(1)
        names = job.clip_names
        predictions = VerificationPredictions(
            names=np.array([f"{a} | {b}" for a, b in zip(names[enroll], names[test], strict=True)], dtype=np.str_),
            group=whose[enroll],
            fold=np.zeros(len(enroll), dtype=np.int64),
            seeds=(0,),
            target=trials.target[kept],
            scores=scores[None],
            target_prior=rule.target_prior,
        )
        job.tell(1.0)
        missed = int((~kept).sum())
        return Outcome(
            predictions=predictions,
            fold_names=["trials"],
            sizes=[[len(known), 0, len(places)]],
            units_total=len(kept),
            settings={"reader": probe.to_json(), "vectors": "pooled", "learnt_from": len(learnt)},
            notes=[
                *([f"{missed} trials were left out: a clip could not be read"] if missed else []),
                *few_notes(probe, learnt),
            ],
        )


def make_trials(rows: NDArray[np.int64], whose: NDArray[np.str_], count: int, seed: int) -> Trials:
    """Draw pairs of clips, half of the same identity, each pair once.

    Args:
        rows: clips to draw from.
        whose: `(corpus,)` identity of each clip.
        count: how many.
        seed: of the draw.

    Raises:
        CorpusError: one identity only, or no identity with two clips.
    """
    generator = np.random.default_rng(seed)
    identities = whose[rows]
    first, second = np.triu_indices(len(rows), 1)
    same = identities[first] == identities[second]
    if not same.any() or same.all():
        raise CorpusError(
            f"{len(rows)} test clips of {len(np.unique(identities))} identities; trials need at least two identities, "
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


def _rule(card: TaskCard) -> VerificationRule:
    rule: Any = card.rule
    if not isinstance(rule, VerificationRule):
        raise ConfigError(f"task {card.name!r} has the rule {type(rule).__name__}; expected VerificationRule")
    return rule
