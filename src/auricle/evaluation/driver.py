"""The one driver of evaluations: find what is known, run the rest under one progress bar, append, return in order."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from auricle.config import Config, Count, InnerShare, Natural
from auricle.corpus.content import DECODING
from auricle.corpus.copies import silent_rows
from auricle.corpus.ledger import beside
from auricle.corpus.losses import with_unused
from auricle.corpus.reading import band_notes, read_notes
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.evaluation.kept_heads import KeptHeads
from auricle.evaluation.leaks import OnLeak
from auricle.evaluation.token_store import Layers, constant_note, progress_bar
from auricle.metrics.catalogue import METRICS
from auricle.probes import LossConfig, SearchConfig
from auricle.recipes.environment import versions
from auricle.results.predictions import save_predictions
from auricle.results.record import SCHEME, Control, Result, Role, append_result, read_results
from auricle.results.scoring import Scores
from auricle.tasks.card import TaskCard
from auricle.tasks.task_type import Job, Outcome, Protocol, TaskPlan, TaskType
from auricle.tokens.cache import TokenCache

FILE = "results.jsonl"
# Fields of a card that decide no number: they may be reworded.
PROSE = ("title", "made", "licence", "citation", "notes")


@dataclass(frozen=True)
class EvaluationConfig(Config, section=""):
    """How encoders are evaluated.

    Attributes:
        seeds: number of seeds (0, 1, 2, ...) of each probe.
        controls: what to evaluate as well (once each, however many encoders share it): `random` weights, `log-mel`
            statistics, `mfcc` statistics. True: all three; False: none.
        search: grid and training of the probes; the default is the published one.
        loss: of the probes; None: the card's.
        refit: train again on training and validation clips with the chosen settings.
        confidence: coverage of the interval.
        split_seed: of folds and validation clips where the corpus has none.
        batch: clips encoded at once.
        device: where encoders and probes run: `auto`, `cpu`, `cuda` or `mps`.
        on_leak: what happens where test clips are copies of training clips: `warn` (a note on the result), `refuse` (an
            error), or `drop` (they are removed).
        keep_heads: keep what was fitted on each fold with each seed in `heads` beside the results (no control's).
    """

    seeds: Count = 3
    controls: bool | tuple[Control, ...] = True
    search: SearchConfig = field(default_factory=SearchConfig)
    loss: str | LossConfig | None = None
    refit: bool = True
    confidence: InnerShare = 0.95
    split_seed: Natural = 0
    batch: Count = 16
    device: str = "auto"
    on_leak: OnLeak = "warn"
    keep_heads: bool = False


DEFAULTS = EvaluationConfig()


@dataclass(frozen=True)
class EvaluatedEncoder:
    """An encoder to evaluate.

    Attributes:
        encoder: the frozen encoder.
        role: `pretrained`, or the control that it is.
        seen: whether the task's audio was seen in pre-training; None: not known.
        notes: remarks on that.
    """

    encoder: FrozenEncoder
    role: Role = "pretrained"
    seen: bool | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedTask:
    """A task planned on its corpus, ready for any encoder and probe.

    Attributes:
        card: the task.
        corpus: its clips.
        task_type: how tasks of this type are run.
        plan: which clips train, validate and test.
        protocol: seeds, search and the like.
        out: folder of results and predictions.
        device: where probes are trained.
        command: recorded as the command; None: that of this process.
        protocol_name: `strict`, or the kit whose protocol is followed.
        leaks: what in that protocol flatters the score.
        listed: output beside which the list of skipped clips is written; None: `out`.
        copies: returns what is to say of copies of training clips among the test clips (`evaluation.leaks`).
        keep_heads: keep the fitted heads of pre-trained encoders.
    """

    card: TaskCard
    corpus: Corpus
    task_type: TaskType
    plan: TaskPlan
    protocol: Protocol
    out: Path
    device: str = "cpu"
    command: str | None = None
    protocol_name: str = "strict"
    leaks: tuple[str, ...] = ()
    copies: Callable[[], dict[str, Any]] = dict
    listed: Path | None = None
    keep_heads: bool = False


@dataclass(frozen=True)
class Evaluation:
    """One probe of one encoder on one task.

    Attributes:
        task: the planned task.
        evaluated: the encoder.
        name: of the probe.
        probe: its settings.
        layers: what it reads of the encoder.
        facts: what stands for the probe in the key; None: its settings.
    """

    task: PlannedTask
    evaluated: EvaluatedEncoder
    name: str
    probe: Config
    layers: Layers = None
    facts: dict[str, Any] | None = None

    @cached_property
    def key(self) -> str:
        """Fingerprint of all that decides the value."""
        task, protocol = self.task, self.task.protocol
        facts = {
            "scheme": SCHEME,
            "encoder": self.evaluated.encoder.fingerprint,
            "corpus": task.corpus.fingerprint,
            "decoding": DECODING,
            "card": {name: value for name, value in task.card.to_json().items() if name not in PROSE},
            "reader": self.probe.to_json() if self.facts is None else self.facts,
            "seeds": protocol.seeds,
            "search": protocol.search.by(task.plan.headline(task.card) if self.facts is None else "").to_json(),
            "loss": None if protocol.loss is None else protocol.loss.to_json(),
            "rest": [protocol.refit, protocol.confidence, protocol.split_seed],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def heads(self) -> KeptHeads | None:
        """Where the fitted heads are kept; None: they are not."""
        return KeptHeads.of(self.task, self.evaluated.role, self.probe, self._name)

    @property
    def _name(self) -> str:
        slug = "".join(c if c.isalnum() else "-" for c in self.evaluated.encoder.name)[:40]
        return f"{slug}-{self.name}-{self.key}"

    def run(self, cache: TokenCache, progress: Callable[[float], None]) -> Result:
        """Train and score the probe, save its predictions and return the record.

        Args:
            cache: what it reads of the corpus.
            progress: called with the share of the work that is done.
        """
        began = time.monotonic()
        task, encoder = self.task, self.evaluated.encoder
        parts, keep = task.out / "fits" / self.key, None
        if self.heads is not None:
            parts, keep = self.heads.beside(parts)
        job = Job(
            task.card, task.corpus, task.plan, encoder, self.name, self.probe, cache, task.protocol, task.device, parts,
            progress, keep,
        )  # fmt: skip
        outcome = task.task_type.run(job)
        saved = Path("predictions") / f"{self._name}.npz"
        save_predictions(task.out / saved, outcome.predictions)
        if self.heads is not None:
            self.heads.finish(parts)
        # Files that could not be opened with the corpus have no row, and are missing all the same.
        missing = task.corpus.ledger.reasons()
        missing |= {str(task.corpus[int(row)].file): cache.missing[int(row)] for row in task.plan.rows[~job.present]}
        constant = constant_note(cache) if isinstance(cache, TokenCache) else None
        if constant is not None:
            outcome = replace(outcome, notes=[*outcome.notes, constant])
        lost = {row: cache.missing[row] for row in task.plan.rows[~job.present].tolist()}
        rows = task.plan.rows.tolist()
        ledger = with_unused(task.corpus, task.card.label, rows, lost, silent_rows(task.corpus, rows))
        listed = beside(task.listed or task.out)
        if self.evaluated.role == "pretrained" or not listed.exists():
            ledger.write(listed)
        if not ledger.complete:
            outcome = replace(outcome, notes=[ledger.sentence, *outcome.notes])
        result = self._record(outcome, saved.as_posix(), missing, began)
        shutil.rmtree(parts, ignore_errors=True)
        return result

    def scores(self, outcome: Outcome, metric: str) -> Scores:
        """Return the numbers of the record that follow from the predictions."""
        return self.task.protocol.score(outcome.predictions, metric)

    def _record(self, outcome: Outcome, saved: str, missing: dict[str, str], began: float) -> Result:
        task, encoder, predictions = self.task, self.evaluated.encoder, outcome.predictions
        copies = task.copies()
        metric = task.task_type.headline(task.card, task.plan, predictions)
        scores = self.scores(outcome, metric)
        detail = scores.detail
        constant, ignoring = outcome.constant or predictions.constant() or ("", None)
        ones = np.ones((1, len(predictions.names)))
        said = [*task.corpus.notes, *task.plan.notes, *copies.get("said", ()), *outcome.notes, *self.evaluated.notes]
        said += [*encoder.notes, *read_notes(task.corpus), *band_notes(task.corpus, encoder.rate)]
        floor = {} if ignoring is None else {m: float(ignoring.measure(m, ones).mean()) for m in ignoring.metrics}
        return Result(
            task=task.card.name,
            kind=detail.get("kind", ""),
            encoder=encoder.name,
            encoder_fingerprint=encoder.fingerprint,
            role=self.evaluated.role,
            probe=self.name,
            metric=metric,
            value=scores.value,
            low=scores.interval.low,
            high=scores.interval.high,
            confidence=task.protocol.confidence,
            interval=scores.interval.method,
            metrics=scores.metrics,
            per_fold=scores.per_fold,
            per_seed=scores.per_seed,
            values=scores.values,
            per_class=detail.get("per_class", {}),
            classes=detail.get("classes", []),
            confusion=detail.get("confusion"),
            protocol=task.plan.protocol,
            split=task.plan.description,
            fold_names=list(outcome.fold_names),
            sizes=[list(size) for size in outcome.sizes],
            refit=outcome.refit,
            clips=len(predictions.names),
            clips_total=outcome.units_total,
            missing=missing,
            notes=list(dict.fromkeys(said)),
            chosen=outcome.chosen,
            tried=outcome.tried,
            settings=outcome.settings,
            seeds=list(predictions.seeds),
            params=outcome.params,
            width=encoder.width,
            corpus=task.corpus.name,
            corpus_fingerprint=task.corpus.fingerprint,
            seen=self.evaluated.seen,
            predictions=saved,
            command=task.command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            versions={"python": platform.python_version(), "scikit-learn": version("scikit-learn"), **versions()},
            seconds=round(time.monotonic() - began, 3),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            key=self.key,
            type_name=task.task_type.name,
            better=METRICS[metric].better,
            unit=METRICS[metric].unit,
            protocol_name=task.protocol_name,
            leaks=list(task.leaks),
            macs=outcome.macs,
            details={
                **detail.get("details", {}),
                **outcome.details,
                **({"copies": copies} if copies else {}),
            },
            constant=constant,
            constant_metrics=floor,
            features=encoder.features.words,
            scheme=SCHEME,
        )


def drive(
    evaluations: Sequence[Evaluation], open_cache: Callable[[Evaluation], Any], *, progress: bool = True
) -> list[Result]:
    """Return the result of each evaluation: from its `results.jsonl` where it is known, else by running it.

    Results are appended one by one, so a stopped call continues where it was. One whose predictions (or heads, where
    they are kept) are missing is made again. Name, role and `seen` of an encoder are those of this call.

    Args:
        evaluations: in the order of the results; all write into one folder.
        open_cache: returns what an evaluation reads of the corpus; called for all that are to run, before the first.
        progress: show one progress bar with an estimate.
    """
    if not evaluations:
        return []
    path = evaluations[0].task.out / FILE
    found = read_results(path) if path.is_file() else []
    known = {one.key: one for one in found if one.predictions is None or (path.parent / one.predictions).is_file()}
    todo = list(
        {one.key: one for one in evaluations if one.key not in known or (one.heads and one.heads.missing)}.values()
    )
    for one in todo:
        one.task.copies()  # what takes time has a progress bar of its own
    caches = [open_cache(one) for one in todo]
    with progress_bar(progress) as bar:
        line = bar.add_task("", total=len(todo), visible=bool(todo))
        for count, (one, cache) in enumerate(zip(todo, caches, strict=True)):
            about = f"{one.task.card.name}: {one.name} on {one.evaluated.encoder.name}"
            bar.update(line, completed=count, description=about)

            def advance(share: float, count: int = count) -> None:
                bar.update(line, completed=count + share)

            known[one.key] = one.run(cache, advance)
            append_result(path, known[one.key])
        bar.update(line, completed=len(todo))
    results = []
    for one in evaluations:
        result, now = known[one.key], one.evaluated
        if (result.seen, result.role, result.encoder) != (now.seen, now.role, now.encoder.name):
            result = replace(result, seen=now.seen, role=now.role, encoder=now.encoder.name)
            append_result(path, result)
        results.append(result)
    return results
