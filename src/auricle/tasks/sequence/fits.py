"""One fold of a sequence reader: choose settings on validation utterances, train each seed, transcribe the test clips.

As for probes of clips: settings are searched once, with the first seed; then each seed trains at the chosen setting on
training and validation utterances together, and only then meets the test clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

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
        labels: for each the numbers of its symbols, from 1 on.
        able: `(n,)` which have frames enough for their symbols.
        symbols: number of symbols.
    """

    tokens: TokenSet
    labels: tuple[Labels, ...]
    able: NDArray[np.bool_]
    symbols: int

    def utterances(self, rows: Rows, *, feasible: bool) -> Utterances:
        """Return some of them; only those that can be trained on, if asked for.

        Raises:
            CorpusError: none is left.
        """
        kept = rows[self.able[rows]] if feasible else rows
        if not len(kept):
            raise CorpusError(
                f"none of {len(rows)} training utterances has as many frames as symbols: the encoder's time columns "
                "are too slow for this speech; give the reader a larger `upsample`"
            )
        return Utterances(self.tokens.select(kept), tuple(self.labels[i] for i in kept.tolist()))


@dataclass(frozen=True)
class SequenceFit:
    """What a fold yields.

    Attributes:
        said: for each seed the symbols of each test clip.
        chosen: the settings that validation chose, and how they validated.
        params: trained parameters.
        tried: settings tried.
        macs: multiply-adds of the reader per clip.
        notes: what a reader of the score must know.
    """

    said: list[list[list[int]]]
    chosen: dict[str, Any]
    params: int
    tried: int
    macs: int
    notes: list[str]

    def pack(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return JSON-ready data and arrays, to be kept on disk."""
        return dict(vars(self)), {}

    @classmethod
    def unpack(cls, head: dict[str, Any]) -> Self:
        """Rebuild from `pack`'s data."""
        return cls(**head)


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
) -> SequenceFit:
    """Fit a sequence reader on one fold.

    Args:
        config: the reader, with `upsample` decided.
        speech: all utterances.
        fold: places of training, validation and test clips in it.
        seeds: of the reader's start and the order of utterances.
        search: grid and training.
        refit: train on training and validation utterances at the chosen setting; False: search anew with each seed on
            training utterances alone, and stop at the best validation epoch.
        device: where to train.
        progress: called with the share of the fold's work that is done.

    Raises:
        CorpusError: no training utterance has frames enough.
    """
    search = search.replace(best_epoch=not refit)
    train, valid = speech.utterances(fold.train, feasible=True), speech.utterances(fold.valid, feasible=False)
    stages = 1 + len(seeds) if refit else len(seeds)

    def fit(train: Utterances, valid: Utterances | None, config_: SearchConfig, seed: int, stage: int) -> FittedCtc:
        def tell(done: int, of: int) -> None:
            if progress is not None:
                progress((stage + done / of) / stages)

        return fit_ctc(
            config,
            train,
            valid,
            symbols=speech.symbols,
            search=config_,
            seed=seed,
            device=device,
            progress=tell,
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
    test = speech.tokens.select(fold.test)
    return SequenceFit(
        said=[[one.tolist() for one in f.decode(test)] for f in fitted],
        chosen={"fold": fold.name, **chosen, "metric": "symbol error rate"},
        params=found.head.params,
        tried=len(found.trials),
        macs=head_macs(found.head, test),
        notes=list(found.notes),
    )
