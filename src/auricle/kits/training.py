"""Train a kit's head at several learning rates in one pass, by the kit's own rules for epochs, checks and stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from auricle.config import Config, Count, Natural, NonNegative, Positive, Share, ShareAboveZero
from auricle.errors import ConfigError, TrainingError
from auricle.kits.adam import SettingsAdam
from auricle.kits.early_stopping import EarlyStopping
from auricle.kits.head import KitHeadConfig
from auricle.probes.contract import Inputs, Labelled, ProbeHead
from auricle.probes.losses import get_loss
from auricle.probes.search.feed import Feed
from auricle.probes.search.selection import default_metric, score
from auricle.probes.search.settings_run import predict_logits
from auricle.tokens.token_set import TokenSet

State = dict[str, Tensor]
# Memory of a setting in training, in copies of its weights: weights, gradients, two moments, the best weights so far;
# for the products a temporary gradient, bfloat16 copies of weights and gradient, and what the allocator keeps.
_COPIES = 8


@dataclass(frozen=True)
class KitTraining(Config):
    """How a kit trains a head.

    Attributes:
        batch: clips per step, at most; the last step of an epoch takes the remaining ones.
        shuffle: draw a new order of the clips in each epoch.
        epochs: passes over the training clips, at most.
        steps: steps instead of epochs, if above 0.
        check_every: epochs (or steps) between two checks on the validation clips.
        patience: checks without a better score after which a setting stops; 0: never.
        ties: select the `first` or the `last` of equally good checks.
        schedule: of the learning rate: `constant`; `cosine`, updated each epoch, down to `floor`; `plateau`, times
            `factor` after more than `plateau_patience` checks without a better score.
        floor: share of the learning rate that the cosine reaches after the last epoch.
        factor: of the plateau.
        plateau_patience: of the plateau.
        weight_decay: L2 penalty inside Adam's gradient.
        clip: largest norm of the gradient; 0: not clipped.
        per_class: divide the cross-entropy by the number of classes, as a mean over clips and classes does (EVAR).
        metric: of the checks, see `SearchConfig.metric`; "": accuracy for one label per clip, else `map`.
        multi_metric: the same for several labels per clip.
        race: auricle's addition: pairs of (checks, share). After that many checks only this share of the whole grid,
            the best of it, continues (see `fit_points`). Empty: all run as in the kit.
    """

    batch: Count = 1024
    shuffle: bool = True
    epochs: Count = 500
    steps: Natural = 0
    check_every: Count = 1
    patience: Natural = 20
    ties: Literal["first", "last"] = "first"
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    floor: Share = 0.0
    factor: Positive = 0.5
    plateau_patience: Natural = 6
    weight_decay: NonNegative = 0.0
    clip: NonNegative = 0.0
    per_class: bool = False
    metric: str = ""
    multi_metric: str = ""
    race: tuple[tuple[Count, ShareAboveZero], ...] = ()

    def __post_init__(self) -> None:
        end = self.steps or self.epochs
        if self.check_every > end:
            raise ConfigError(f"check_every is {self.check_every}; expected at most {end}, where training ends")
        if self.race and self.schedule == "cosine":
            raise ConfigError("a race stops settings before a cosine schedule has decayed; set race or cosine only")

    def selects_by(self, single: bool) -> str:
        """Return the metric of the checks."""
        return (self.metric if single else self.multi_metric) or default_metric(single)


@dataclass
class KitFit:
    """One setting, trained.

    Attributes:
        lr: its learning rate.
        score: of its best check on the validation clips, higher is better.
        at: epoch (or step) of that check, counted from 1.
        trained: epochs (or steps) of training.
        scores: of all checks.
        loss: validation loss at the best check.
        raced_out: the race stopped it, and its score is that of an unfinished training.
        spent: epochs (or steps) of computation, including those that a race repeated.
        state: weights at the best check, with a settings axis of one; empty where they were dropped.
    """

    lr: float
    score: float = -math.inf
    at: int = 0
    trained: int = 0
    scores: list[float] = field(default_factory=list)
    loss: float = math.inf
    raced_out: bool = False
    spent: int = 0
    state: State = field(default_factory=dict, repr=False)


def settings_per_pass(parameters: int, clips: int, width: int, memory_mb: float) -> int:
    """Return the number of settings that may train at once within a memory bound; at least one.

    Args:
        parameters: of one setting.
        clips: of a step.
        width: of all hidden layers together: each keeps a few values per clip for the gradient.
        memory_mb: the bound.
    """
    each = 4 * (_COPIES * parameters + 4 * clips * max(width, 1))
    return max(1, int(memory_mb * 1e6 // each))


def train_kit_head(
    config: KitHeadConfig,
    training: KitTraining,
    rates: Sequence[float],
    train: Labelled,
    valid: Labelled,
    classes: int,
    *,
    single: bool,
    seed: int,
    device: torch.device | str = "cpu",
    memory_mb: float = 256.0,
    calibrate_on: TokenSet | None = None,
    keep: Literal["all", "best"] = "all",
    progress: Callable[[float], None] | None = None,
) -> list[KitFit]:
    """Train a head at several learning rates.

    All rates share initial weights, order and dropout masks, so that they differ by their rate alone; the number of
    them in one pass changes nothing but time and memory.

    Args:
        config: the head.
        training: the kit's rules.
        rates: learning rates.
        train: training clips, in the kit's order.
        valid: validation clips.
        classes: C.
        single: one label per clip (cross-entropy) or several (binary cross-entropy).
        seed: of initial weights, order and dropout.
        device: where to train.
        memory_mb: bound on the memory of settings in training, inputs excluded.
        calibrate_on: clips whose mean and deviation standardise, where these are not the training clips.
        keep: the weights of `all` settings, or of the `best` one only, so that memory does not grow with their number.
        progress: called with the share of the work that is done, as an upper bound.

    Raises:
        TrainingError: no setting had a finite validation score.
        ConfigError: one training clip only, where batch norm needs two.
    """
    if config.batch_norm and len(train.tokens) < 2:
        raise ConfigError("found 1 training clip; batch norm needs at least 2: add clips")
    probe = _head(config, train, classes, 1, seed, device)
    feeds = [Feed(side.tokens, probe, device=device) for side in (train, valid)]
    probe.calibrate((feeds[0] if calibrate_on is None else Feed(calibrate_on, probe, device=device)).all())
    buffers = {name: t for name, t in probe.named_buffers() if name in ("mean", "scale")}
    size = settings_per_pass(probe.params, min(training.batch, len(train.tokens)), sum(config.hidden), memory_mb)
    fits: list[KitFit] = []
    for begin in range(0, len(rates), size):
        some = list(rates[begin : begin + size])

        def advance(done: float, begin: int = begin, count: int = len(some)) -> None:
            if progress is not None:
                progress((begin + done * count) / len(rates))

        def start(some: list[float] = some) -> _Pass:
            head = _head(config, train, classes, len(some), seed, device)
            for name, buffer in head.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name].expand_as(buffer))
            return _Pass(head, training, some, feeds[0], train, feeds[1], valid, single, seed, device)

        # Nothing of a pass outlives it: the next one needs the memory.
        fits += start().run(advance)
        if keep == "best":
            keep_best(fits)
    if not any(fit.at for fit in fits):
        raise TrainingError(
            f"no learning rate of {', '.join(f'{r:g}' for r in rates)} gave a finite validation score; check that the "
            "embeddings are finite"
        )
    return fits


def keep_best(fits: Sequence[KitFit]) -> KitFit | None:
    """Drop the weights of all settings but the best one that trained to its end, the first of equals.

    Returns:
        The best one; None: no setting had a finite score.
    """
    able = [fit for fit in fits if fit.at and not fit.raced_out]
    best = max(able, key=lambda fit: fit.score, default=None)
    for fit in fits:
        if fit is not best:
            fit.state = {}
    return best


def kit_logits(
    config: KitHeadConfig,
    fit: KitFit,
    tokens: TokenSet,
    classes: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the logits `(n, C)` of a trained setting, in float32 throughout."""
    head = config.replace(precision="exact").build(tokens.shape, classes, settings=1, generator=torch.Generator())
    head.load_state_dict(fit.state)
    head.to(device)
    with torch.no_grad():
        return predict_logits(head, Feed(tokens, head, device=device))[0].cpu()


def _head(
    config: KitHeadConfig, train: Labelled, classes: int, settings: int, seed: int, device: torch.device | str
) -> ProbeHead:
    generator = torch.Generator().manual_seed(seed)
    return config.build(train.tokens.shape, classes, settings=settings, generator=generator).to(device)


class _Pass:
    """Settings that train together."""

    def __init__(
        self,
        head: ProbeHead,
        training: KitTraining,
        rates: list[float],
        feed: Feed,
        train: Labelled,
        valid_feed: Feed,
        valid: Labelled,
        single: bool,
        seed: int,
        device: torch.device | str,
    ) -> None:
        self.head, self.training, self.feed, self.valid_feed = head, training, feed, valid_feed
        self.targets, self.valid_targets = train.targets.to(device), valid.targets.to(device)
        self.loss = get_loss("ce" if single else "bce")
        self.metric = training.selects_by(single)
        self.per_class = training.per_class and single
        self.optimiser = SettingsAdam(head, rates, weight_decay=training.weight_decay, clip=training.clip)
        self.fits = [KitFit(rate) for rate in rates]
        self.stopping = EarlyStopping(training.patience, training.ties, training.factor, training.plateau_patience)
        self.alive = list(range(len(rates)))
        self.order = torch.Generator().manual_seed(seed)
        self.drops = torch.Generator(device=device).manual_seed(seed)
        self.device = device

    def run(self, advance: Callable[[float], None]) -> list[KitFit]:
        """Train until all settings have stopped."""
        rule = self.training
        end, step, epoch = rule.steps or rule.epochs, 0, 0
        ready = None if rule.shuffle else [self._batch(p) for p in self._places(np.arange(len(self.feed)))]
        while self.alive:
            epoch += 1
            if ready is None:
                order = torch.randperm(len(self.feed), generator=self.order).numpy()
            for inputs, targets in ready or map(self._batch, self._places(order)):
                self._step(inputs, targets, self._factors(epoch))
                step += 1
                if rule.steps:
                    self._after(step, end)
                    if not self.alive:
                        return self.fits
            if not rule.steps:
                self._after(epoch, end)
            advance(min(1.0, (step if rule.steps else epoch) / end))
        return self.fits

    def _places(self, order: np.ndarray) -> list[np.ndarray]:
        places = [order[i : i + self.training.batch] for i in range(0, len(order), self.training.batch)]
        # The deviation of one clip is undefined for batch norm; the kit would raise an error.
        return places[:-1] if len(places[-1]) == 1 and len(places) > 1 and self._normed else places

    @property
    def _normed(self) -> bool:
        return any(name.startswith("running_var") for name, _ in self.head.named_buffers())

    def _batch(self, places: np.ndarray) -> tuple[Inputs, Tensor]:
        return self.feed.batch(places), self.targets[torch.from_numpy(places).to(self.device)]

    def _step(self, inputs: Inputs, targets: Tensor, factors: list[float]) -> None:
        self.head.train()
        logits = self.head(inputs, self.drops)
        total = self.loss(logits, targets).sum()
        if self.per_class:
            total = total / logits.shape[-1]
        self.head.zero_grad()
        total.backward()
        self.optimiser.step(factors)

    def _factors(self, epoch: int) -> list[float]:
        rule = self.training
        if rule.schedule == "plateau":
            return [self.stopping.factor_of(k) for k in self.alive]
        share = 1.0
        if rule.schedule == "cosine" and rule.epochs > 1:
            share = rule.floor + (1 - rule.floor) * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / rule.epochs))
        return [share] * len(self.alive)

    def _after(self, now: int, end: int) -> None:
        """Run a check where one is due, and stop settings."""
        stopped: set[int] = set()
        if now % self.training.check_every == 0:
            logits = predict_logits(self.head, self.valid_feed)
            scores = score(logits, self.valid_targets, self.metric).tolist()
            losses = self.loss(logits, self.valid_targets).tolist()
            for row, k in enumerate(self.alive):
                fit = self.fits[k]
                fit.scores.append(scores[row])
                if self.stopping.better(k, scores[row]):
                    fit.score, fit.loss, fit.at = scores[row], losses[row], now
                    fit.state = {n: t[row : row + 1].detach().clone() for n, t in self.head.state_dict().items()}
                if self.stopping.stops(k):
                    stopped.add(k)
        for k in self.alive:
            self.fits[k].trained = self.fits[k].spent = now
        if now >= end:
            self.alive = []
        elif stopped:
            rows = [row for row, k in enumerate(self.alive) if k not in stopped]
            self.alive = [self.alive[row] for row in rows]
            if rows:
                self.head.keep(torch.tensor(rows, device=self.device))
                self.optimiser.keep(rows)
