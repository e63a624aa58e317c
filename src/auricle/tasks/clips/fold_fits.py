"""One probe on one fold: choose settings on validation clips, train for each seed, score the test clips.

Learning rate and weight decay are searched once per fold, with the first seed. Then, for each seed, the probe is
trained again at the chosen setting on training and validation clips together, for as many epochs as in the search, and
only then scores the test clips. A setting is validated at its last epoch: what was validated is what is trained again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.probes import FittedProbe, Labelled, LossConfig, ProbeConfig, SearchConfig, fit_probe, fit_probe_seeds
from auricle.probes.cost import head_macs
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.folds import Fold
from auricle.tasks.shallow import ShallowConfig, Vectors
from auricle.tasks.targets import Targets, mute_unseen
from auricle.tasks.task_type import Job, Kept
from auricle.tokens.token_set import TokenSet


@dataclass(frozen=True)
class FoldFit:
    """Result of one fold.

    Attributes:
        scores: `(S, n, C)` float32 probabilities of the fold's test clips, one slice a seed.
        chosen: the settings that validation chose, and their validation scores.
        params: trained parameters.
        tried: number of settings tried.
        macs: multiply-adds of the probe per clip; None: not counted.
        notes: caveats for whoever reads the score.
        fitted: the probes of the seeds; empty for shallow classifiers.
        unseen: classes without a training clip, whose scores were muted.
    """

    scores: NDArray[np.float32]
    chosen: dict[str, Any]
    params: int
    tried: int
    macs: int | None = None
    notes: list[str] = field(default_factory=list)
    fitted: Sequence[FittedProbe] = ()
    unseen: tuple[int, ...] = ()

    def pack(self) -> Kept:
        """Return JSON-ready data and arrays, to be kept on disk."""
        head = {"chosen": self.chosen, "params": self.params, "tried": self.tried, "macs": self.macs}
        return {**head, "notes": self.notes}, {"scores": self.scores}


def fit_fold(
    probe: Config,
    tokens: TokenSet,
    targets: Targets,
    fold: Fold,
    *,
    seeds: Sequence[int],
    search: SearchConfig,
    loss: LossConfig,
    refit: bool = True,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> FoldFit:
    """Fit a probe on one fold.

    Args:
        probe: settings of a probe, or of a shallow classifier.
        tokens: of the clips of `targets`, in that order.
        targets: labels of the clips.
        fold: indices of training, validation and test clips.
        seeds: of initial weights and the order of clips.
        search: grid and training.
        loss: what is minimised.
        refit: train on training and validation clips at the chosen setting; False: search anew with each seed on
            training clips alone, with early stopping at the best validation epoch.
        device: where to train.
        progress: called with the share of the fold's work that is done.

    Raises:
        ConfigError: `probe` is neither of the two.
    """
    report = progress or (lambda share: None)
    known = np.concatenate([fold.train, fold.valid]) if refit else fold.train
    if isinstance(probe, ShallowConfig):
        train, valid = _vectors(tokens, targets, fold.train), _vectors(tokens, targets, fold.valid)
        scored, choice = probe.fit_predict(train, valid, tokens.pooled[fold.test], refit=refit, metric=search.metric)
        report(1.0)
        scores = mute_unseen(scored[None].astype(np.float32), targets.truth[known])
        return FoldFit(scores, {"fold": fold.name, **choice}, 0, len(choice.get("tried", [])))
    if not isinstance(probe, ProbeConfig):
        raise ConfigError(f"{type(probe).__name__} serves no labelled clips; expected a probe or a shallow classifier")
    parts = {
        name: Labelled(tokens.select(rows), targets.labels(rows))
        for name, rows in (("train", fold.train), ("valid", fold.valid))
    }
    test = tokens.select(fold.test)
    search = search.replace(best_epoch=not refit)
    stages = 1 + len(seeds) if refit else len(seeds)

    def fit(train: Labelled, config: SearchConfig, seed: int, stage: int) -> FittedProbe:
        return fit_probe(
            probe,
            train,
            parts["valid"],
            classes=targets.classes,
            loss=loss,
            search=config,
            seed=seed,
            device=device,
            progress=lambda done, of: report((stage + done / of) / stages),
        )

    def several() -> tuple[FittedProbe, ...]:
        return fit_probe_seeds(
            probe,
            parts["train"],
            parts["valid"],
            classes=targets.classes,
            loss=loss,
            search=search,
            seeds=seeds,
            device=device,
            progress=lambda done, of: report(done / of),
        )

    found: FittedProbe | None = None
    if not refit:
        # With `top_k` the search compares its best settings over its own seeds: all seeds share one setting.
        fitted = (
            list(several()) if search.top_k > 1 else [fit(parts["train"], search, s, i) for i, s in enumerate(seeds)]
        )
        chosen: dict[str, Any] = {
            "fold": fold.name,
            "lr": [f.trial.lr for f in fitted],
            "weight_decay": [f.trial.weight_decay for f in fitted],
            "validation": [f.validation for f in fitted],
            "epoch": [f.trial.epoch for f in fitted],
            "metric": fitted[0].metric,
        }
        tried = len(fitted[0].trials)
    else:
        found = fit(parts["train"], search, seeds[0], 0)
        trial = found.trial
        chosen = {
            "fold": fold.name,
            "lr": trial.lr,
            "weight_decay": trial.weight_decay,
            "validation": found.validation,
            "metric": found.metric,
            "tried": [
                {"lr": t.lr, "weight_decay": t.weight_decay, "validation": t.score if math.isfinite(t.score) else None}
                for t in found.trials
            ],
        }
        tried = len(found.trials)
        everything = Labelled(tokens.select(known), targets.labels(known))
        again = search.replace(lr=(trial.lr,), weight_decay=(trial.weight_decay,), halving=())
        fitted = [fit(everything, again, seed, stage) for stage, seed in enumerate(seeds, 1)]
    scores = np.stack([f.predict(test) for f in fitted]).astype(np.float32)
    scores = mute_unseen(scores, targets.truth[known])
    # Notes of the search: the probes trained again had one setting, which needs none.
    notes = list((found or fitted[0]).notes)
    unseen = tuple(np.flatnonzero(~targets.truth[known].any(0)).tolist())
    return FoldFit(scores, chosen, fitted[0].params, tried, head_macs(fitted[0].head, test), notes, fitted, unseen)


def known_targets(job: Job, targets: Targets) -> Targets:
    """Return the targets of the clips that could be read, in the order of `job.tokens()`."""
    return replace(targets, rows=targets.rows[job.present], truth=targets.truth[job.present])


def clip_predictions(
    job: Job, targets: Targets, folds: Sequence[Fold], parts: Sequence[Kept], seeds: Sequence[int]
) -> ClipPredictions:
    """Return the predictions of the test clips of all folds in a row.

    Args:
        job: names and sources of the clips.
        targets: of the clips that could be read (`known_targets`).
        folds: with indices into `targets`.
        parts: `FoldFit.pack` of each fold.
        seeds: of the scores.
    """
    rows, units = job.test_units(folds)
    return ClipPredictions(
        kind=targets.kind,
        classes=targets.classes,
        **units,
        truth=targets.truth[rows],
        scores=np.concatenate([arrays["scores"] for _, arrays in parts], axis=1),
        seeds=tuple(seeds),
    )


def _vectors(tokens: TokenSet, targets: Targets, rows: NDArray[np.int64]) -> Vectors:
    return Vectors(tokens.pooled[rows].astype(np.float32), targets.truth[rows], targets.kind == "single")
