"""One CTC head on one fold: choose settings on validation utterances, train each seed, transcribe the test clips.

As for probes of clips: settings are searched once, with the first seed; then each seed trains at the chosen setting on
training and validation utterances together, and only then transcribes the test clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.probes.cost import head_macs
from auricle.probes.ctc.heads import CtcConfig
from auricle.probes.ctc.search import FittedCtc, fit_ctc
from auricle.probes.ctc.utterances import Labels, Utterances
from auricle.probes.search.config import SearchConfig
from auricle.tasks.folds import Fold, Rows
from auricle.tokens.token_set import TokenSet


@dataclass(frozen=True)
class Speech:
    """All utterances that could be read.

    Attributes:
        tokens: n clips.
        labels: numbers of the symbols of each, from 1 on.
        able: `(n,)` whether each has enough frames for its symbols.
        symbols: number of symbols.
    """

    tokens: TokenSet
    labels: tuple[Labels, ...]
    able: NDArray[np.bool_]
    symbols: int

    def utterances(self, rows: Rows, *, feasible: bool) -> Utterances:
        """Return some utterances; with `feasible` only those that can be trained on.

        Raises:
            CorpusError: no utterance is left.
        """
        kept = rows[self.able[rows]] if feasible else rows
        if not len(kept):
            raise CorpusError(
                f"none of {len(rows)} training utterances has as many frames as symbols: the encoder's frame rate is "
                "too low for this speech; set a larger `upsample` of the probe"
            )
        return Utterances(self.tokens.select(kept), tuple(self.labels[i] for i in kept.tolist()))


def fit_sequence_fold(
    config: CtcConfig,
    speech: Speech,
    fold: Fold,
    *,
    seeds: Sequence[int],
    search: SearchConfig,
    refit: bool = True,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
    keep: Callable[[Sequence[FittedCtc]], None] | None = None,
) -> dict[str, Any]:
    """Fit a CTC head on one fold and transcribe its test clips.

    Args:
        config: the head, with `upsample` decided.
        speech: all utterances.
        fold: indices of training, validation and test clips.
        seeds: of initial weights and the order of utterances.
        search: grid and training.
        refit: train on training and validation utterances at the chosen setting; False: search anew with each seed on
            training utterances alone, with early stopping at the best validation epoch.
        device: where to train.
        progress: called with the share of the fold's work that is done.
        keep: called with the heads of the seeds.

    Returns:
        `said`: for each seed the recognised symbols of each test clip; `chosen`, `params`, `tried`, `macs` and `notes`
        as in `Outcome`. All of it is JSON-ready.

    Raises:
        CorpusError: no training utterance has enough frames.
    """
    search = search.replace(best_epoch=not refit)
    train, valid = speech.utterances(fold.train, feasible=True), speech.utterances(fold.valid, feasible=False)
    stages, report = (1 + len(seeds) if refit else len(seeds)), progress or (lambda share: None)

    def fit(train: Utterances, valid: Utterances | None, config_: SearchConfig, seed: int, stage: int) -> FittedCtc:
        return fit_ctc(
            config,
            train,
            valid,
            symbols=speech.symbols,
            search=config_,
            seed=seed,
            device=device,
            progress=lambda done, of: report((stage + done / of) / stages),
        )

    if refit:
        found = fit(train, valid, search, seeds[0], 0)
        known = speech.utterances(np.concatenate([fold.train, fold.valid]), feasible=True)
        again = search.replace(lr=(found.trial.lr,), weight_decay=(found.trial.weight_decay,), halving=())
        fitted = [fit(known, None, again, seed, stage) for stage, seed in enumerate(seeds, 1)]
        chosen: dict[str, Any] = {
            "lr": found.trial.lr,
            "weight_decay": found.trial.weight_decay,
            "validation": -found.trial.score,
            "tried": [{"lr": t.lr, "weight_decay": t.weight_decay, "validation": -t.score} for t in found.trials],
        }
    else:
        fitted = [fit(train, valid, search, seed, stage) for stage, seed in enumerate(seeds)]
        found = fitted[0]
        chosen = {
            "lr": [f.trial.lr for f in fitted],
            "weight_decay": [f.trial.weight_decay for f in fitted],
            "validation": [-f.trial.score for f in fitted],
            "epoch": [f.trial.epoch for f in fitted],
        }
    if keep is not None:
        keep(fitted)
    test = speech.tokens.select(fold.test)
    return {
        "said": [[one.tolist() for one in f.decode(test)] for f in fitted],
        "chosen": {"fold": fold.name, **chosen, "metric": "symbol error rate"},
        "params": found.head.params,
        "tried": len(found.trials),
        "macs": head_macs(found.head, test),
        "notes": list(found.notes),
    }
