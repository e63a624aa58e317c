"""Fits a frame-wise probe: many learning rates and weight decays at once, chosen on validation frames only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes.contract import Labelled
from auricle.probes.fitted import FittedProbe
from auricle.probes.frames.contract import (
    FrameConfig,
    FrameHead,
    FrameLabelled,
    FrameLossConfig,
    cut_pieces,
    valid_frames,
)
from auricle.probes.label_checks import check_targets
from auricle.probes.losses import LossConfig, get_loss
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.feed import Feed
from auricle.probes.search.search import search_settings
from auricle.probes.search.settings_run import Work
from auricle.tokens.token_set import TokenSet

# Most pieces a step that still allow a search's `min_batches`.
_STEP = 8


class FrameFeed(Feed):
    """Inputs of a frame-wise head; `gather` returns a row for each valid frame of all clips."""

    @cached_property
    def rows(self) -> int:
        columns = sum(int(self.tokens.valid_columns(place).sum()) for place in range(len(self.tokens)))
        return columns * (self.head.upsample if isinstance(self.head, FrameHead) else 1)


class FittedFrames(FittedProbe):
    """A fitted frame-wise probe: `logits` and `predict` return `(M, C)`, the valid frames of all clips in a row."""

    def logits(self, tokens: TokenSet) -> Tensor:
        # No clip is read here: only the tokens' encoder and shape are checked.
        nothing = super().logits(tokens.select([]))
        if len(tokens) == 0:
            return nothing
        with torch.no_grad():
            return FrameFeed(tokens, self.head, memory_mb=0).gather(self.head)[0]


@dataclass
class FrameWork(Work):
    """`Work` whose targets are of frames: a table for each piece in training, one row a frame for validation."""

    feeds: ClassVar[type[Feed]] = FrameFeed

    def expected(self, part: Labelled) -> Tensor:
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
    """Train a frame-wise probe at every setting of the search and return the one with the best validation score.

    The score is the mean average precision over validation frames, which needs no threshold. Training clips are cut
    into pieces (`cut_pieces`), so that few long recordings make as many steps an epoch as the search asks for;
    validation clips stay whole.

    Args:
        config: settings of the probe.
        train: training clips, and for each its targets `(time * upsample, C)`, zeros and ones.
        valid: validation clips likewise. None: nothing is chosen, and the search must hold one setting.
        classes: names of the C classes.
        loss: `bce` or `asl`, or settings of one of them.
        search: method, settings, epochs, batch (of pieces).
        seed: of the random start and of the order of pieces.
        device: where to train.
        progress: called with (epochs done, epochs) after each epoch.

    Returns:
        A fitted probe whose `predict` yields the valid frames of all clips in a row (`frame_scores` sorts them).

    Raises:
        ConfigError: the loss is for one label, a side has no clip or no event, tokens are not finite, or nothing can
            choose among settings.
        TrainingError: every setting diverged.
        MissingExtraError: the search is `tpe` and optuna is not installed.
    """
    search, plain = search or SearchConfig(), get_loss(loss)
    if plain.single or plain.regression:
        raise ConfigError(f"loss {plain.name!r} is for one label or number; a frame may hold any classes: use 'bce'")
    framed = FrameLossConfig(plain.name, plain.gamma_neg, plain.gamma_pos, plain.margin)
    metric = search.metric or "map"
    if metric not in ("map", "auc"):
        raise ConfigError(f"{metric!r} can't choose among frame-wise probes; use 'map' or 'auc'")
    U = config.upsample
    pieces = cut_pieces(*train, U, pieces=_STEP * search.min_batches)
    known = FrameLabelled.of(*pieces, U)
    asked = None if valid is None else FrameLabelled.of(*valid, U)
    check_targets(known, asked, classes, framed, metric)
    if asked is None and search.searches:
        raise ConfigError("without validation clips no setting can be chosen; set one lr and one weight decay")
    work = FrameWork(config, known, asked, len(classes), framed, search, metric, device)
    seeds = range(seed, seed + (search.reruns if search.top_k > 1 and search.searches else 1))
    found, best, states = search_settings(work, seeds, progress=progress)
    chosen = found.trials[best[0]]
    head = config.build(known.tokens.shape, len(classes), settings=1, generator=torch.Generator())
    head.load_state_dict(states[0])
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
        notes=search.edge_notes(config, chosen.lr, chosen.weight_decay),
    )


def frame_scores(fitted: FittedFrames, tokens: TokenSet) -> list[np.ndarray]:
    """Return the probabilities of each clip's frames, `(time * upsample, C)` float32; zeros at invalid frames.

    Raises:
        ConfigError: the tokens are of another encoder, or the settings are not those of a frame-wise probe.
    """
    if not isinstance(fitted.config, FrameConfig):
        raise ConfigError(f"{type(fitted.config).__name__} classifies clips; frame scores need a frame-wise probe")
    rows, U = fitted.predict(tokens), fitted.config.upsample
    scores, begin = [], 0
    for place, time in enumerate(tokens.time.tolist()):
        frames = valid_frames(tokens, place, U)
        table = np.zeros((time * U, len(fitted.classes)), dtype=np.float32)
        table[frames] = rows[begin : begin + int(frames.sum())]
        begin += int(frames.sum())
        scores.append(table)
    return scores
