"""One fold of one probe: choose settings on validation clips, train for each seed, score the test clips.

Learning rate and weight decay are searched once per fold, with the first seed. Then, for each seed, the probe is
trained again at the chosen setting on training and validation clips together, for as many epochs as in the search, and
only then meets the test clips. A setting stands for its last epoch: what was validated is what is trained again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.metrics.knn import knn_scores
from auricle.probes import FittedProbe, Labelled, LossConfig, ProbeConfig, SearchConfig, fit_probe
from auricle.tasks.folds import Fold
from auricle.tasks.targets import Targets
from auricle.tokens.token_set import TokenSet
from auricle.training.atomic_write import write_atomic

KNN = "knn"
NEIGHBOURS = 10


@dataclass(frozen=True)
class FoldFit:
    """What a fold yields.

    Attributes:
        scores: `(S, n, C)` float32 probabilities of the fold's test clips, one slice a seed.
        chosen: the settings that validation chose, and how they validated.
        params: trained parameters.
        tried: number of settings tried.
    """

    scores: NDArray[np.float32]
    chosen: dict[str, Any]
    params: int
    tried: int


def fit_fold(
    probe: ProbeConfig | str,
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
        probe: the probe's settings, or `knn` (cosine, ten neighbours, nothing trained or chosen).
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
    """
    tell = progress or (lambda share: None)
    if probe == KNN:
        scores = _nearest(tokens, targets, fold)
        tell(1.0)
        return FoldFit(scores[None], {"fold": fold.name, "k": NEIGHBOURS, "similarity": "cosine"}, 0, 0)
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

    if not refit:
        fitted = [fit(parts["train"], search, seed, stage) for stage, seed in enumerate(seeds)]
        chosen: dict[str, Any] = {
            "fold": fold.name,
            "lr": [f.trial.lr for f in fitted],
            "weight_decay": [f.trial.weight_decay for f in fitted],
            "validation": [f.trial.score for f in fitted],
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
            "validation": trial.score,
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
    return FoldFit(scores, chosen, fitted[0].params, tried)


def save_fold(path: Path, fit: FoldFit) -> None:
    """Keep a finished fold, atomically, so that a stopped evaluation goes on after it."""
    head = json.dumps(
        {"chosen": fit.chosen, "params": fit.params, "tried": fit.tried, "shape": fit.scores.shape}
    ).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, len(head).to_bytes(8, "little") + head + np.ascontiguousarray(fit.scores, "<f4").tobytes())


def load_fold(path: Path) -> FoldFit | None:
    """Return a finished fold, or None if there is none (or not a whole one: it is then fitted again)."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    try:
        head = json.loads(data[8 : 8 + size])
        scores = np.frombuffer(data[8 + size :], "<f4").reshape(head["shape"]).astype(np.float32)
        return FoldFit(scores, head["chosen"], head["params"], head["tried"])
    except (ValueError, KeyError):
        return None


def _labelled(tokens: TokenSet, targets: Targets, rows: NDArray[np.int64]) -> Labelled:
    if targets.kind == "single":
        return Labelled(tokens.select(rows), torch.from_numpy(targets.numbers[rows]))
    return Labelled(tokens.select(rows), torch.from_numpy(targets.truth[rows].astype(np.float32)))


def _nearest(tokens: TokenSet, targets: Targets, fold: Fold) -> NDArray[np.float32]:
    known = np.concatenate([fold.train, fold.valid])
    labels = targets.numbers[known] if targets.kind == "single" else targets.truth[known]
    votes = knn_scores(tokens.pooled[known], labels, tokens.pooled[fold.test], NEIGHBOURS, classes=len(targets.classes))
    scores: NDArray[np.float32] = votes.astype(np.float32)
    return scores
