"""One task laid over its corpus, ready for any encoder and reader: from token caches to a `Result`."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.metrics.catalogue import METRICS
from auricle.results.predictions import save_predictions
from auricle.results.record import Result, Role
from auricle.results.scoring import score
from auricle.tasks.card import TaskCard
from auricle.tasks.task_type import Job, Protocol, TaskPlan, TaskType
from auricle.tokens.cache import TokenCache

SCHEME = 3  # raise when a change here changes numbers, so that older results are not taken for new ones


@dataclass(frozen=True)
class EvaluatedEncoder:
    """An encoder under test.

    Attributes:
        encoder: the frozen encoder.
        role: `pretrained`, or the control that it is.
        heard: whether it was pre-trained on the task's audio; None: not known.
    """

    encoder: FrozenEncoder
    role: Role = "pretrained"
    seen: bool | None = None


@dataclass(frozen=True)
class Study:
    """One task laid over its corpus.

    Attributes:
        card: the task.
        corpus: its clips.
        task_type: how tasks of this type are judged.
        plan: which clips teach, choose and judge.
        protocol: seeds, search and the like.
        out: folder of results and answers.
        command: what records say made them.
        device: where readers are trained.
    """

    card: TaskCard
    corpus: Corpus
    task_type: TaskType
    plan: TaskPlan
    protocol: Protocol
    out: Path
    command: str
    device: str

    def key(self, evaluated: EvaluatedEncoder, probe: Config) -> str:
        """Return the fingerprint of all that decides the value."""
        p = self.protocol
        facts = {
            "scheme": SCHEME,
            "encoder": evaluated.encoder.fingerprint,
            "corpus": self.corpus.fingerprint,
            "card": self.card.to_json(),
            "reader": probe.to_json(),
            "seeds": p.seeds,
            "search": p.search.to_json(),
            "loss": None if p.loss is None else p.loss.to_json(),
            "rest": [p.refit, p.resamples, p.confidence, p.split_seed],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def run(
        self, evaluated: EvaluatedEncoder, name: str, probe: Config, cache: TokenCache, tell: Callable[[float], None]
    ) -> Result:
        """Judge one reader of one encoder; `tell` is called with the share of the work that is done."""
        began = time.monotonic()
        protocol, encoder = self.protocol, evaluated.encoder
        key = self.key(evaluated, probe)
        parts = self.out / "fits" / key
        job = Job(self.card, self.corpus, self.plan, encoder, name, probe, cache, protocol, self.device, parts, tell)
        outcome = self.task_type.run(job)
        predictions = outcome.predictions
        saved = Path("predictions") / f"{_slug(encoder.name)}-{name}-{key}.npz"
        save_predictions(self.out / saved, predictions)
        metric = self.task_type.headline(self.card, predictions)
        scores = score(
            predictions, metric, resamples=protocol.resamples, confidence=protocol.confidence, seed=protocol.split_seed
        )
        # What the corpus left out on opening never got a row, and is missing all the same.
        missing = dict(self.corpus.problems)
        missing |= {str(self.corpus[int(r)].file): cache.missing[int(r)] for r in self.plan.rows[~job.here]}
        detail = scores.detail
        result = Result(
            task=self.card.name,
            kind=detail.get("kind", ""),
            encoder=encoder.name,
            encoder_fingerprint=encoder.fingerprint,
            role=evaluated.role,
            probe=name,
            metric=metric,
            value=scores.value,
            low=scores.interval.low,
            high=scores.interval.high,
            confidence=protocol.confidence,
            interval=scores.interval.method,
            metrics=scores.metrics,
            per_fold=scores.per_fold,
            per_seed=scores.per_seed,
            values=scores.values,
            per_class=detail.get("per_class", {}),
            classes=detail.get("classes", []),
            confusion=detail.get("confusion"),
            protocol=self.plan.protocol,
            split=self.plan.words,
            fold_names=list(outcome.fold_names),
            sizes=[list(size) for size in outcome.sizes],
            refit=outcome.refit,
            clips=len(predictions.names),
            clips_total=outcome.units_total,
            missing=missing,
            notes=list(dict.fromkeys([*self.plan.notes, *outcome.notes, *encoder.notes])),
            chosen=outcome.chosen,
            tried=outcome.tried,
            settings=outcome.settings,
            seeds=list(predictions.seeds),
            params=outcome.params,
            width=encoder.width,
            corpus=self.corpus.name,
            corpus_fingerprint=self.corpus.fingerprint,
            seen=evaluated.seen,
            predictions=saved.as_posix(),
            command=self.command,
            versions=versions(),
            seconds=round(time.monotonic() - began, 3),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            key=key,
            type_name=self.task_type.name,
            better=METRICS[metric].better,
            unit=METRICS[metric].unit,
            macs=outcome.macs,
            details={**detail.get("details", {}), **outcome.details},
        )
        shutil.rmtree(parts, ignore_errors=True)
        return result


def versions() -> dict[str, str]:
    """Return the versions that a record names."""
    names = ("auricle", "torch", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)[:40]
