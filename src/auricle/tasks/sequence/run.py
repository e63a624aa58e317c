"""Sequence recognition, judged: frame-wise readers trained by CTC, word and character error rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.extras import require
from auricle.probes.ctc.decode import check_beam
from auricle.probes.ctc.heads import CTC, CtcConfig
from auricle.probes.ctc.utterances import Labels, feasible
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import Fold, Plan, plan_folds
from auricle.tasks.sequence.answers import Transcripts
from auricle.tasks.sequence.fits import SequenceFit, Speech, fit_sequence_fold
from auricle.tasks.sequence.rule import SequenceRule
from auricle.tasks.targets import Targets
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, cells, source_groups

_NAMED = 10  # utterances or symbols that a note names


@dataclass(frozen=True)
class Script:
    """Transcripts as numbers.

    Attributes:
        texts: `(n,)` normalised transcripts.
        symbols: the alphabet; number i + 1 stands for `symbols[i]`, 0 for the blank.
        labels: for each text its numbers.
        plan: the folds.
    """

    texts: NDArray[np.str_]
    symbols: tuple[str, ...]
    labels: tuple[Labels, ...]
    plan: Plan


class SequenceTask(TaskType):
    """Utterances with transcripts: folds or a split, a CTC reader, errors over all utterances together."""

    name: ClassVar[str] = "sequence"
    probes: ClassVar[dict[str, Config]] = dict(CTC)
    default_probes: ClassVar[tuple[str, ...]] = ("ctc", "ctc_conv")

    def probe(self, asked: str | Config) -> tuple[str, Config]:
        """Return a reader's name and settings.

        Raises:
            ConfigError: it is unknown.
            MissingExtraError: it searches with a beam, and the library is not installed.
        """
        name, config = super().probe(asked)
        if isinstance(config, CtcConfig) and config.decode == "beam":
            check_beam()
        return name, config

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Read the transcripts and make folds.

        Raises:
            CorpusError: no transcripts, fewer utterances than folds ...
            MissingExtraError: the extra `speech` is not installed.
        """
        rule = _rule(card)
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
            raise CorpusError(f"no clip has a transcript in column {card.label!r}; expected what is said in each clip")
        texts = [all_texts[i] for i in rows.tolist()]
        symbols = tuple(sorted({s for text in texts for s in rule.symbols(text)}))
        number = {s: i for i, s in enumerate(symbols, 1)}
        labels = tuple(np.array([number[s] for s in rule.symbols(text)], dtype=np.int64) for text in texts)
        # One class that every utterance has: folds are dealt by size and source alone.
        everyone = Targets("multi", ("utterance",), rows, np.ones((len(rows), 1), dtype=bool))
        groups = source_groups(card, corpus, rows)
        plan = plan_folds(
            card,
            everyone,
            splits=cells(corpus, "split", rows),
            folds=cells(corpus, "fold", rows),
            groups=groups.tolist(),
            seed=seed,
        )
        notes = list(plan.notes)
        if len(rows) < len(all_texts):
            notes.append(f"{len(all_texts) - len(rows)} clips without a transcript were left out")
        script = Script(np.array(texts, dtype=np.str_), symbols, labels, plan)
        notes += _overlaps(script)
        words = f"{plan.words}; {len(symbols)} {rule.unit}"
        return TaskPlan(rows, plan.protocol, words, groups, tuple(notes), script)

    def run(self, job: Job) -> Outcome:
        """Fit all folds and put what was recognised in a row."""
        script: Script = job.plan.payload
        rule, protocol, here = _rule(job.card), job.protocol, job.here
        tokens = job.tokens()
        if not isinstance(job.probe, CtcConfig):
            raise ConfigError(f"{type(job.probe).__name__} reads no sequences; expected a CtcConfig")
        config = job.probe.for_rate(tokens.rate)
        upsample = config.upsample or 1
        labels = tuple(one for one, known in zip(script.labels, here.tolist(), strict=True) if known)
        speech = Speech(tokens, labels, feasible(tokens, labels, upsample), len(script.symbols))
        folds = job.readable(script.plan.folds)
        fits: list[SequenceFit] = []
        for place, fold in enumerate(folds):

            def fit(fold: Fold = fold, place: int = place) -> Kept:
                found = fit_sequence_fold(
                    config,
                    speech,
                    fold,
                    seeds=protocol.seeds,
                    search=protocol.search,
                    refit=protocol.refit,
                    device=job.device,
                    progress=lambda share: job.tell((place + share) / len(folds)),
                )
                return found.pack()

            fits.append(SequenceFit.unpack(job.kept(f"fold-{place}", fit)[0]))
        predictions = np.concatenate([fold.test for fold in folds])
        said = [
            [rule.text(script.symbols[i - 1] for i in one) for fit in fits for one in fit.said[s]]
            for s in range(len(protocol.seeds))
        ]
        transcripts = Transcripts(
            names=job.clip_names[here][predictions],
            group=job.plan.groups[here][predictions],
            fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
            seeds=protocol.seeds,
            truth=script.texts[here][predictions],
            said=np.array(said, dtype=np.str_),
            unit=rule.unit,
        )
        frames = tokens.rate * upsample
        notes, details = _short(job.clip_names[here], speech.able, frames)
        if upsample > 1:
            notes.append(
                f"each time column of the encoder ({tokens.rate:g} a second) is split into {upsample} frames by the "
                f"reader's weights: {frames:g} frames a second"
            )
        return Outcome(
            predictions=transcripts,
            fold_names=[fold.name for fold in folds],
            sizes=[[len(fold.train), len(fold.valid), len(fold.test)] for fold in folds],
            units_total=sum(len(fold.test) for fold in script.plan.folds),
            chosen=[fit.chosen for fit in fits],
            tried=fits[0].tried,
            params=fits[0].params,
            macs=fits[0].macs,
            settings=_settings(job, config, frames),
            refit=protocol.refit,
            notes=[*notes, *dict.fromkeys(note for fit in fits for note in fit.notes)],
            details={"symbols": list(script.symbols), **details},
        )


def _rule(card: TaskCard) -> SequenceRule:
    if not isinstance(card.rule, SequenceRule):
        raise ConfigError(f"task {card.name!r} has the rule {type(card.rule).__name__}; expected SequenceRule")
    return card.rule


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
    """Note symbols that training never shows, and test texts that it does."""
    unseen: set[str] = set()
    known = asked = 0
    for fold in script.plan.folds:
        learnt = np.concatenate([fold.train, fold.valid]).tolist()
        symbols = {int(s) for i in learnt for s in script.labels[i]}
        unseen |= {
            script.symbols[s - 1] for i in fold.test.tolist() for s in script.labels[i].tolist() if s not in symbols
        }
        texts = set(script.texts[learnt].tolist())
        known += sum(text in texts for text in script.texts[fold.test].tolist())
        asked += len(fold.test)
    notes = []
    if unseen:
        notes.append(f"in test but never in training (counted as errors): {', '.join(map(repr, sorted(unseen)))}")
    if known:
        share = f"{known} of {asked}" if known < asked else f"all {asked}"
        notes.append(f"the texts of {share} test utterances are also said in training, by others or elsewhere")
    return notes


def _short(names: NDArray[np.str_], able: NDArray[np.bool_], frames: float) -> tuple[list[str], dict[str, Any]]:
    """Say which utterances have fewer frames than symbols: they can't be trained on, and are judged all the same."""
    short: Sequence[str] = names[~able].tolist()
    if not short:
        return [], {"infeasible": []}
    note = (
        f"{len(short)} utterances have more symbols than frames ({frames:g} a second): not trained on, but judged "
        f"(the first: {', '.join(short[:_NAMED])})"
    )
    return [note], {"infeasible": list(short)}
