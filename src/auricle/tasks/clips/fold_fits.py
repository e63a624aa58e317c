"""One fold of one reader: choose settings on validation clips, train for each seed, score the test clips.

Learning rate and weight decay are searched once per fold, with the first seed. Then, for each seed, the probe is
trained again at the chosen setting on training and validation clips together, for as many epochs as in the search, and
only then meets the test clips. A setting stands for its last epoch: what was validated is what is trained again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.probes import FittedProbe, Labelled, LossConfig, ProbeConfig, SearchConfig, fit_probe, fit_probe_seeds
from auricle.probes.cost import head_macs
from auricle.tasks.folds import Fold
from auricle.tasks.shallow import TrainingFreeConfig, Vectors
from auricle.tasks.targets import Targets, mute_unseen
from auricle.tokens.token_set import TokenSet


@dataclass(frozen=True)
class FoldFit:
    """What a fold yields.

    Attributes:
        scores: `(S, n, C)` float32 probabilities of the fold's test clips, one slice a seed.
        chosen: the settings that validation chose, and how they validated.
        params: trained parameters.
        tried: number of settings tried.
        macs: multiply-adds of the reader per clip; None: not counted.
        notes: what a reader of the score must know.
    """

    scores: NDArray[np.float32]
    chosen: dict[str, Any]
    params: int
    tried: int
    macs: int | None = None
    notes: list[str] = field(default_factory=list)

    def pack(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return JSON-ready data and arrays, to be kept on disk."""
        head = {"chosen": self.chosen, "params": self.params, "tried": self.tried, "macs": self.macs}
        return {**head, "notes": self.notes}, {"scores": self.scores}

    @classmethod
    def unpack(cls, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild from `pack`'s data."""
        return cls(arrays["scores"], **head)


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
        probe: settings of a probe, or of a reader without a training loop.
        tokens: of the clips of `targets`, in that order.
        targets: what is true of them.
        fold: places of training, validation and test clips.
        seeds: of the probe's start and the order of clips.
        search: grid and training.
        loss: what is minimised.
        refit: train on training and validation clips at the chosen setting; False: search anew with each seed on
            training clips alone and stop at the best validation epoch.
        device: where to train.
        progress: called with the share of the fold's work that is done.

    Raises:
        ConfigError: `probe` is neither of the two.
    """
    tell = progress or (lambda share: None)
    if isinstance(probe, TrainingFreeConfig):
        train, valid = _vectors(tokens, targets, fold.train), _vectors(tokens, targets, fold.valid)
        scored, choice = probe.fit_predict(train, valid, tokens.pooled[fold.test], refit=refit)
        tell(1.0)
        scores = mute_unseen(scored[None].astype(np.float32), targets.truth[_learnt(fold, refit)])
        return FoldFit(scores, {"fold": fold.name, **choice}, 0, len(choice.get("tried", [])))
    if not isinstance(probe, ProbeConfig):
        raise ConfigError(f"{type(probe).__name__} reads no labelled clips; give the settings of a probe")
    parts = {name: _labelled(tokens, targets, rows) for name, rows in (("train", fold.train), ("valid", fold.valid))}
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
            progress=lambda done, of: tell((stage + done / of) / stages),
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
            progress=lambda done, of: tell(done / of),
        )

    found: FittedProbe | None = None
    if not refit:
        # With `top_k` the search compares its best settings over seeds of its own: one setting stands for all seeds.
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
        everything = _labelled(tokens, targets, np.concatenate([fold.train, fold.valid]))
        again = search.replace(lr=(trial.lr,), weight_decay=(trial.weight_decay,), halving=())
        fitted = [fit(everything, again, seed, stage) for stage, seed in enumerate(seeds, 1)]
    scores = np.stack([f.predict(test) for f in fitted]).astype(np.float32)
    scores = mute_unseen(scores, targets.truth[_learnt(fold, refit)])
    # Notes of the search: the probes trained again had one setting, of which there is nothing to say.
    notes = list((found or fitted[0]).notes)
    return FoldFit(scores, chosen, fitted[0].params, tried, head_macs(fitted[0].head, test), notes)


def _learnt(fold: Fold, refit: bool) -> NDArray[np.int64]:
    return np.concatenate([fold.train, fold.valid]) if refit else fold.train


def _labelled(tokens: TokenSet, targets: Targets, rows: NDArray[np.int64]) -> Labelled:
    if targets.kind == "single":
        return Labelled(tokens.select(rows), torch.from_numpy(targets.numbers[rows]))
    return Labelled(tokens.select(rows), torch.from_numpy(targets.truth[rows].astype(np.float32)))


def _vectors(tokens: TokenSet, targets: Targets, rows: NDArray[np.int64]) -> Vectors:
    return Vectors(tokens.pooled[rows].astype(np.float32), targets.truth[rows], targets.kind == "single")
