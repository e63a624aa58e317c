"""One task with its clips and folds, ready for any encoder and probe: from token caches to a `Result`."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CorpusError
from auricle.probes import LossConfig, ProbeConfig, SearchConfig
from auricle.studies.fold_fits import KNN, NEIGHBOURS, FoldFit, fit_fold, load_fold, save_fold
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import Fold, Plan
from auricle.tasks.predictions import Predictions, save_predictions
from auricle.tasks.results import Result, Role
from auricle.tasks.scoring import score_predictions
from auricle.tasks.targets import Targets
from auricle.tokens.cache import TokenCache
from auricle.tokens.token_set import TokenSet

SCHEME = 2  # raise when a change here changes numbers, so that older results are not taken for new ones


@dataclass(frozen=True)
class Subject:
    """An encoder under test.

    Attributes:
        encoder: the frozen encoder.
        role: `pretrained`, or the control that it is.
        heard: whether it was pre-trained on the task's audio; None: not known.
    """

    encoder: FrozenEncoder
    role: Role = "pretrained"
    heard: bool | None = None


@dataclass(frozen=True)
class Protocol:
    """All that decides a result beside encoder and corpus; part of every result's key."""

    seeds: tuple[int, ...]
    search: SearchConfig
    loss: LossConfig
    refit: bool
    resamples: int
    confidence: float
    split_seed: int


class Study:
    """One task with its clips and its folds, ready for any encoder and probe."""

    def __init__(
        self,
        card: TaskCard,
        corpus: Corpus,
        targets: Targets,
        plan: Plan,
        protocol: Protocol,
        out: Path,
        command: str,
        device: str,
    ) -> None:
        self.card, self.corpus, self.targets, self.plan = card, corpus, targets, plan
        self.protocol, self.out, self.command, self.device = protocol, out, command, device
        files, starts = corpus.column("file"), corpus.column("start")
        self.clips = np.array([f"{files[r]}@{starts[r]:.6f}" for r in targets.rows], dtype=np.str_)
        self.sources = np.array(source_groups(card, corpus, targets), dtype=np.str_)

    def key(self, subject: Subject, probe: ProbeConfig | str) -> str:
        """Fingerprint of all that decides the value."""
        p = self.protocol
        facts = {
            "scheme": SCHEME,
            "encoder": subject.encoder.fingerprint,
            "corpus": self.corpus.fingerprint,
            "card": self.card.to_json(),
            "probe": probe.to_json() if isinstance(probe, ProbeConfig) else [probe, NEIGHBOURS],
            "seeds": p.seeds,
            "search": p.search.to_json(),
            "loss": p.loss.to_json(),
            "rest": [p.refit, p.resamples, p.confidence, p.split_seed],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def run(
        self, subject: Subject, name: str, probe: ProbeConfig | str, cache: TokenCache, tell: Callable[[float], None]
    ) -> Result:
        """Fit all folds and score their test clips together."""
        began = time.monotonic()
        card, targets, protocol = self.card, self.targets, self.protocol
        here = np.isin(targets.rows, cache.present)
        # What the corpus left out on opening never got a row, and is missing all the same.
        missing = dict(self.corpus.problems)
        missing |= {str(self.corpus[int(r)].file): cache.missing[int(r)] for r in targets.rows[~here]}
        tokens, present = self._tokens(cache, here)
        folds = [_without(fold, here, present) for fold in self.plan.folds]
        known = replace(targets, rows=targets.rows[here], truth=targets.truth[here])
        key = self.key(subject, probe)
        seeds = protocol.seeds[:1] if probe == KNN else protocol.seeds
        fits: list[FoldFit] = []
        for place, fold in enumerate(folds):
            kept = self.out / "fits" / key / f"fold-{place}.bin"
            fit = load_fold(kept)
            if fit is None or fit.scores.shape != (len(seeds), len(fold.test), len(targets.classes)):
                fit = fit_fold(
                    probe,
                    tokens,
                    known,
                    fold,
                    seeds=seeds,
                    search=protocol.search,
                    loss=protocol.loss,
                    refit=protocol.refit,
                    device=self.device,
                    progress=lambda share, place=place: tell(place + share),  # type: ignore[misc]
                )
                save_fold(kept, fit)
            fits.append(fit)
            tell(place + 1)
        judged = np.concatenate([fold.test for fold in folds])
        predictions = Predictions(
            kind=targets.kind,
            classes=targets.classes,
            clips=self.clips[here][judged],
            fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
            group=self.sources[here][judged],
            truth=known.truth[judged],
            scores=np.concatenate([fit.scores for fit in fits], axis=1),
            seeds=seeds,
        )
        saved = Path("predictions") / f"{_slug(subject.encoder.name)}-{name}-{key}.npz"
        save_predictions(self.out / saved, predictions)
        metric = card.headline(targets.kind)
        scores = score_predictions(
            predictions, metric, resamples=protocol.resamples, confidence=protocol.confidence, seed=protocol.split_seed
        )
        notes = [*targets.notes, *self.plan.notes, *subject.encoder.notes]
        result = Result(
            task=card.name,
            kind=targets.kind,
            encoder=subject.encoder.name,
            encoder_fingerprint=subject.encoder.fingerprint,
            role=subject.role,
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
            per_class=scores.per_class,
            classes=list(targets.classes),
            confusion=scores.confusion,
            protocol=self.plan.protocol,
            split=self.plan.words,
            fold_names=[fold.name for fold in folds],
            sizes=[[len(fold.train), len(fold.valid), len(fold.test)] for fold in folds],
            refit=protocol.refit,
            clips=len(judged),
            clips_total=sum(len(fold.test) for fold in self.plan.folds),
            missing=missing,
            notes=notes,
            chosen=[fit.chosen for fit in fits],
            tried=fits[0].tried,
            settings=_settings(probe, protocol),
            seeds=list(seeds),
            params=fits[0].params,
            width=subject.encoder.width,
            corpus=self.corpus.name,
            corpus_fingerprint=self.corpus.fingerprint,
            heard=subject.heard,
            predictions=saved.as_posix(),
            command=self.command,
            versions=_versions(),
            seconds=round(time.monotonic() - began, 3),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            key=key,
        )
        shutil.rmtree(self.out / "fits" / key, ignore_errors=True)
        return result

    def _tokens(self, cache: TokenCache, here: np.ndarray) -> tuple[TokenSet, np.ndarray]:
        """Tokens of the clips that could be read, and the new place of each clip (-1: not read)."""
        present = np.where(here, np.cumsum(here) - 1, -1)
        return cache.select(self.targets.rows[here]), present


def cells(corpus: Corpus, column: str, targets: Targets) -> list[Any]:
    """Return a column's values for the clips that take part."""
    values = corpus.column(column)
    return [values[row] for row in targets.rows]


def source_groups(card: TaskCard, corpus: Corpus, targets: Targets) -> list[str]:
    """Source of each clip; clips without one belong to their file."""
    files = cells(corpus, "file", targets)
    sources = cells(corpus, card.source, targets) if card.source in corpus.columns else [None] * len(files)
    return [f"source {s}" if s not in (None, "") else f"file {f}" for s, f in zip(sources, files, strict=True)]


def _without(fold: Fold, here: np.ndarray, present: np.ndarray) -> Fold:
    sides = {name: present[rows[here[rows]]] for name, rows in (("t", fold.train), ("v", fold.valid), ("e", fold.test))}
    if not all(len(rows) for rows in sides.values()):
        raise CorpusError(
            f"fold {fold.name} has no readable clips on one side (training {len(sides['t'])}, validation "
            f"{len(sides['v'])}, test {len(sides['e'])}): mend those that `auricle corpus scan` calls broken"
        )
    return Fold(fold.name, sides["t"], sides["v"], sides["e"])


def _settings(probe: ProbeConfig | str, protocol: Protocol) -> dict[str, Any]:
    if not isinstance(probe, ProbeConfig):
        return {"k": NEIGHBOURS, "similarity": "cosine", "vectors": "pooled"}
    grid = protocol.search.grid(probe)
    return {
        "probe": probe.to_json(),
        "lr": sorted({lr for lr, _ in grid}),
        "weight_decay": sorted({wd for _, wd in grid}),
        "epochs": protocol.search.epochs,
        "batch": protocol.search.batch,
        "search": protocol.search.to_json(),
        "loss": protocol.loss.to_json(),
    }


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)[:40]


def _versions() -> dict[str, str]:
    names = ("auricle", "torch", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
