"""Sequence recognition: frame-wise heads trained by CTC, word and character error rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.extras import require
from auricle.probes.ctc.decode import check_beam
from auricle.probes.ctc.heads import CTC, CtcConfig
from auricle.probes.ctc.search import FittedCtc
from auricle.probes.ctc.utterances import Labels, feasible
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import Fold, Plan, plan_corpus
from auricle.tasks.sequence.answers import Transcripts
from auricle.tasks.sequence.fits import Speech, fit_sequence_fold
from auricle.tasks.sequence.rule import SequenceRule
from auricle.tasks.targets import Targets
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, fold_outcome
from auricle.words import counted, was

_NAMED = 10  # utterances or symbols that a note names


@dataclass(frozen=True)
class Script:
    """Transcripts as numbers.

    Attributes:
        texts: `(n,)` normalised transcripts.
        symbols: the alphabet; number i + 1 is `symbols[i]`, 0 the blank.
        labels: numbers of each text.
        plan: the folds.
    """

    texts: NDArray[np.str_]
    symbols: tuple[str, ...]
    labels: tuple[Labels, ...]
    plan: Plan


class SequenceTask(TaskType):
    """Utterances with transcripts: folds or a split, a CTC head, errors over all utterances together."""

    name: ClassVar[str] = SequenceRule.type_name
    probes: ClassVar[dict[str, Config]] = dict(CTC)
    default_probes: ClassVar[tuple[str, ...]] = ("ctc", "ctc_conv")

    def probe(self, asked: str | Config) -> tuple[str, Config]:
        name, config = super().probe(asked)
        if isinstance(config, CtcConfig) and config.decode == "beam":
            check_beam()
        return name, config

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        rule = card.rule_as(SequenceRule)
        for library in ("jiwer", "rapidfuzz.distance"):
            require(library, extra="speech")
        if card.label not in corpus.columns:
            raise CorpusError(
                f"task {card.name!r} needs transcripts in column {card.label!r}, the corpus has "
                f"{', '.join(corpus.columns)}; name the column of transcripts with --label"
            )
        all_texts = [rule.normalise(text) for text in corpus.column(card.label)]
        rows = np.array([i for i, text in enumerate(all_texts) if text], dtype=np.int64)
        if not len(rows):
            raise CorpusError(f"no clip has a transcript in column {card.label!r}; expected a text for each clip")
        texts = [all_texts[i] for i in rows.tolist()]
        symbols = tuple(sorted({s for text in texts for s in rule.symbols(text)}))
        number = {s: i for i, s in enumerate(symbols, 1)}
        labels = tuple(np.array([number[s] for s in rule.symbols(text)], dtype=np.int64) for text in texts)
        # One class that every utterance has: folds are balanced by size and source only.
        everyone = Targets("multi", ("utterance",), rows, np.ones((len(rows), 1), dtype=bool))
        plan, groups = plan_corpus(card, everyone, corpus, seed)
        notes = list(plan.notes)
        if len(rows) < len(all_texts):
            count = len(all_texts) - len(rows)
            notes.append(f"{counted(count, 'clip')} without a transcript {was(count)} excluded")
        script = Script(np.array(texts, dtype=np.str_), symbols, labels, plan)
        notes += _overlaps(script)
        description = f"{plan.description}; {len(symbols)} {rule.unit}"
        return TaskPlan(rows, plan.protocol, description, groups, tuple(notes), script, folds=plan.folds)

    def run(self, job: Job) -> Outcome:
        script: Script = job.plan.payload
        rule, protocol, present = job.card.rule_as(SequenceRule), job.protocol, job.present
        tokens = job.tokens()
        config = job.probe_as(CtcConfig).for_rate(tokens.rate)
        upsample = config.upsample or 1
        labels = tuple(one for one, known in zip(script.labels, present.tolist(), strict=True) if known)
        speech = Speech(tokens, labels, feasible(tokens, labels, upsample), len(script.symbols))
        folds = job.readable(script.plan.folds)

        def fit(fold: Fold, progress: Callable[[float], None]) -> Kept:
            def keep(fitted: Sequence[FittedCtc]) -> None:
                facts = {"symbols": script.symbols, "unit": rule.unit, "encoder": tokens.encoder, "shape": tokens.shape}
                job.keep_heads(fold.name, protocol.seeds, fitted, [facts] * len(fitted))

            found = fit_sequence_fold(
                config, speech, fold, seeds=protocol.seeds, progress=progress, keep=keep, **job.training
            )
            return found, {}

        heads = [head for head, _ in job.each_fold(folds, fit)]
        said = [
            [rule.text(script.symbols[i - 1] for i in one) for head in heads for one in head["said"][s]]
            for s in range(len(protocol.seeds))
        ]
        rows, units = job.test_units(folds)
        transcripts = Transcripts(
            **units,
            seeds=protocol.seeds,
            truth=script.texts[present][rows],
            said=np.array(said, dtype=np.str_),
            unit=rule.unit,
        )
        frames = tokens.rate * upsample
        short = job.clip_names[present][~speech.able].tolist()
        notes = []
        if short:
            have = "has" if len(short) == 1 else "have"
            notes.append(
                f"{counted(len(short), 'utterance')} {have} more symbols than frames ({frames:g} a second): not "
                f"trained on, but tested (the first: {', '.join(short[:_NAMED])})"
            )
        if upsample > 1:
            notes.append(
                f"the probe splits each time column of the encoder ({tokens.rate:g} a second) into {upsample} frames: "
                f"{frames:g} frames a second"
            )
        return fold_outcome(
            transcripts,
            folds,
            script.plan.folds,
            heads,
            _settings(job, config, frames),
            refit=protocol.refit,
            notes=notes,
            details={"symbols": list(script.symbols), "infeasible": short},
        )


def _settings(job: Job, config: CtcConfig, frames: float) -> dict[str, Any]:
    search = job.protocol.search
    return {
        "probe": config.to_json(),
        "epochs": search.epochs * config.rounds,
        "batch": search.batch,
        "search": search.to_json(),
        "loss": "ctc",
        "frames_per_second": frames,
    }


def _overlaps(script: Script) -> list[str]:
    """Return notes on test symbols that training lacks, and on test texts that training contains."""
    unseen: set[str] = set()
    known = tested = 0
    for fold in script.plan.folds:
        trained = np.concatenate([fold.train, fold.valid]).tolist()
        symbols = {int(s) for i in trained for s in script.labels[i]}
        unseen |= {
            script.symbols[s - 1] for i in fold.test.tolist() for s in script.labels[i].tolist() if s not in symbols
        }
        texts = set(script.texts[trained].tolist())
        known += sum(text in texts for text in script.texts[fold.test].tolist())
        tested += len(fold.test)
    notes = []
    if unseen:
        notes.append(f"in test but never in training (counted as errors): {', '.join(map(repr, sorted(unseen)))}")
    if known:
        share = f"{known} of {tested}" if known < tested else f"all {tested}"
        notes.append(f"the texts of {share} test utterances also occur in training, by other speakers or elsewhere")
    return notes
