"""Fits a frame-wise reader: many learning rates and weight decays at once, chosen on validation frames only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auricle.errors import ConfigError, TrainingError
from auricle.probes.contract import Labelled
from auricle.probes.frames.contract import (
    FrameConfig,
    FrameLabelled,
    FrameLossConfig,
    cut_pieces,
    valid_frames,
)
from auricle.probes.frames.feed import FittedFrames, FrameFeed
from auricle.probes.label_checks import check_targets
from auricle.probes.losses import LossConfig, get_loss
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.edges import edge_notes
from auricle.probes.search.feed import Feed
from auricle.probes.search.seeds_rerun import rerun
from auricle.probes.search.settings_run import Finished, Work, train_settings
from auricle.probes.search.study import passes, study_search
from auricle.tokens.token_set import TokenSet

# Clips a step, at most, that a search's `min_batches` may be met with.
_STEP = 8


@dataclass
class FrameWork(Work):
    """`Work` whose targets are of frames: picked piece by piece in training, in a row for validation."""

    def feed(self, side: str) -> Feed:
        """Return the inputs of the `training` or the `validation` clips."""
        if side not in self._feeds:
            part = self.train if side == "training" else self.valid
            if part is None:
                raise ConfigError("there are no validation clips to read")
            reader = self.head(1, torch.Generator())
            self._feeds[side] = FrameFeed(part.tokens, reader, memory_mb=self.search.memory_mb, device=self.device)
        return self._feeds[side]

    def expected(self, part: Labelled) -> Tensor:
        """Return a side's targets on the device."""
        table = part.padded if part is self.train and isinstance(part, FrameLabelled) else part.targets
        return table.to(self.device)


def fit_frames(
    config: FrameConfig,
    train: tuple[TokenSet, Sequence[np.ndarray]],
    valid: tuple[TokenSet, Sequence[np.ndarray]] | None,
    *,
    classes: Sequence[str],
    loss: str | LossConfig = "bce",
    search: SearchConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> FittedFrames:
    """Train a frame-wise reader at every setting of the search and return the one that validates best.

    What chooses is the mean average precision over validation frames, class by class: it needs no threshold.
    Training clips are cut into pieces (`cut_pieces`), so that few long recordings make as many steps an epoch as
    the search asks for; validation clips stay whole.

    Args:
        config: the reader.
        train: training clips, and for each its targets `(time * upsample, C)`, zeros and ones.
        valid: validation clips likewise. None: nothing is chosen, the search must hold one setting.
        classes: names of the C classes.
        loss: `bce` or `asl`, or settings of one of them.
        search: method, settings, epochs, batch (of pieces).
        seed: of the random start and of the order of pieces.
        device: where to train.
        progress: called with (epochs done, epochs) after each epoch.

    Returns:
        A fitted probe whose `predict` yields the valid frames of all clips in a row (`frame_scores` sorts them).

    Raises:
        ConfigError: the loss is of one label, a side has no clip or no event, tokens are not finite, or nothing can
            choose among settings.
        TrainingError: every setting diverged.
        MissingExtraError: the search is `tpe` and optuna is not installed.
    """
    search, plain = search or SearchConfig(), get_loss(loss)
    if plain.single or plain.regression:
        raise ConfigError(f"loss {plain.name!r} is of one label or number; any classes may sound in a frame: use 'bce'")
    framed = FrameLossConfig(plain.name, plain.gamma_neg, plain.gamma_pos, plain.margin)
    metric = search.metric or "map"
    if metric not in ("map", "auc"):
        raise ConfigError(f"{metric!r} can't choose among readers of frames; use 'map' or 'auc'")
    U = config.upsample
    pieces = cut_pieces(*train, U, pieces=_STEP * search.min_batches)
    known = FrameLabelled.of(*pieces, U)
    asked = None if valid is None else FrameLabelled.of(*valid, U)
    check_targets(known, asked, classes, framed, metric)
    if asked is None and search.searches:
        raise ConfigError("without validation clips no setting can be chosen; give one lr and one weight decay")
    work = FrameWork(config, known, asked, len(classes), framed, search, metric, device)
    guided = search.method == "tpe" and search.searches
    several = search.top_k > 1 and search.searches
    rounds = (len(passes(search)) if guided else 1) + (search.reruns - 1 if several else 0)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, rounds * search.epochs)

    if guided:
        found = study_search(work, seed, progress=lambda number, epoch: tell(number * search.epochs + epoch))
    else:
        found = train_settings(work, search.grid(config), seed, progress=tell)
    best = found.finishers()
    if not best:
        raise TrainingError(_diverged(found))
    state = found.states[best[0]]
    if several:
        seeds = range(seed, seed + search.reruns)
        shift = (rounds - search.reruns + 1) * search.epochs
        best, states = rerun(work, found, best[: search.top_k], seeds, progress=lambda done: tell(shift + done))
        state = states[0]
    head = config.build(known.tokens.shape, len(classes), settings=1, generator=torch.Generator())
    head.load_state_dict(state)
    return FittedFrames(
        config=config,
        head=head.eval(),
        shape=known.tokens.shape,
        classes=tuple(classes),
        loss=framed,
        search=search,
        metric=metric,
        trials=found.trials,
        chosen=best[0],
        seed=seed,
        encoder=known.tokens.encoder,
        layer=known.tokens.layer,
        notes=edge_notes(search, config, found.trials[best[0]]),
    )


def frame_scores(fitted: FittedFrames, tokens: TokenSet) -> list[np.ndarray]:
    """Return the probabilities of each clip's frames, `(time * upsample, C)` float32; zeros where one is not valid.

    Raises:
        ConfigError: the tokens are of another encoder, or the settings are not those of a frame-wise reader.
    """
    if not isinstance(fitted.config, FrameConfig):
        raise ConfigError(f"{type(fitted.config).__name__} reads clips; frame scores need a frame-wise reader")
    rows, U = fitted.predict(tokens), fitted.config.upsample
    scores, begin = [], 0
    for place, time in enumerate(tokens.time.tolist()):
        frames = valid_frames(tokens, place, U)
        table = np.zeros((time * U, len(fitted.classes)), dtype=np.float32)
        table[frames] = rows[begin : begin + int(frames.sum())]
        begin += int(frames.sum())
        scores.append(table)
    return scores


def _diverged(found: Finished) -> str:
    rates = sorted({t.lr for t in found.trials})
    return (
        f"no learning rate from {rates[0]:g} to {rates[-1]:g} gave a finite validation loss; check that the tokens "
        "are finite, or give lower learning rates"
    )
