"""Trains a kit's head at several learning rates in one pass, by the kit's own rules for epochs, checks and stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from auricle.config import Config
from auricle.errors import ConfigError, TrainingError
from auricle.kits.adam import SettingsAdam
from auricle.kits.head import CompatHeadConfig
from auricle.kits.stopping import Standing
from auricle.probes.contract import Inputs, Labelled, ProbeHead
from auricle.probes.losses import get_loss
from auricle.probes.search.feed import Feed
from auricle.probes.search.selection import default_metric, score
from auricle.probes.search.settings_run import predict_logits
from auricle.tokens.token_set import TokenSet

State = dict[str, Tensor]
# What a setting holds while it trains: weights, gradients, two moments, the best weights so far; and for the products a
# gradient on its way, halves of weights and gradient in bfloat16, and what the allocator does not give back.
_COPIES = 8


@dataclass(frozen=True)
class CompatTraining(Config):
    """How a kit trains a head.

    Attributes:
        batch: clips a step, at most; the last step of an epoch gets what is left.
        shuffle: draw the order of the clips anew in each epoch.
        epochs: passes over the training clips, at most.
        steps: steps instead of epochs, if above 0.
        check_every: epochs (or steps) between two looks at the validation clips.
        patience: checks without a better score after which a setting stops; 0: it never does.
        ties: whether the `first` or the `last` of equally good checks stands.
        schedule: of the learning rate: `constant`; `cosine`, set anew for each epoch, down to `floor`; `plateau`,
            times `factor` after more than `plateau_patience` checks without a better score.
        floor: share of the learning rate that the cosine would reach after the last epoch.
        factor: of the plateau.
        plateau_patience: of the plateau.
        weight_decay: L2 penalty inside Adam's gradient.
        clip: largest norm of the gradient; 0: not clipped.
        per_class: divide the cross-entropy by the number of classes, as a mean over clips and classes does (EVAR).
        metric: what the checks compare, of `SearchConfig.metric`; "": accuracy for one label a clip, else `map`.
        multi_metric: the same for several labels a clip, where it differs.
        race: no kit's rule, but auricle's: pairs of (checks, share). After so many checks only the best share of the
            whole grid goes on (see `fit_points`). Empty: all run as in the kit.
    """

    batch: int = 1024
    shuffle: bool = True
    epochs: int = 500
    steps: int = 0
    check_every: int = 1
    patience: int = 20
    ties: Literal["first", "last"] = "first"
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    floor: float = 0.0
    factor: float = 0.5
    plateau_patience: int = 6
    weight_decay: float = 0.0
    clip: float = 0.0
    per_class: bool = False
    metric: str = ""
    multi_metric: str = ""
    race: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: a number is out of range, or a word is unknown.
        """
        if min(self.batch, self.epochs, self.check_every) < 1 or min(self.steps, self.patience) < 0:
            raise ConfigError("batch, epochs and check_every must be at least 1, steps and patience at least 0")
        if self.check_every > (self.steps or self.epochs):
            raise ConfigError(f"the first check would come after {self.check_every}, and training ends before")
        if any(checks < 1 or not 0 < share <= 1 for checks, share in self.race):
            raise ConfigError(f"race is {self.race}; expected pairs of (checks from 1, share above 0 up to 1)")
        if self.race and self.schedule == "cosine":
            raise ConfigError(
                "a race stops settings early, where a cosine schedule has not come down yet; drop one of them"
            )
        if self.schedule not in ("constant", "cosine", "plateau") or self.ties not in ("first", "last"):
            raise ConfigError(f"schedule {self.schedule!r}, ties {self.ties!r}; see `CompatTraining` for those known")

    def selects_by(self, single: bool) -> str:
        """Return the metric that the checks compare."""
        return (self.metric if single else self.multi_metric) or default_metric(single)


@dataclass
class CompatFit:
    """One setting, trained.

    Attributes:
        lr: its learning rate.
        score: of its best check on the validation clips, higher is better.
        at: epoch (or step) of that check, counted from 1.
        trained: epochs (or steps) it was trained for.
        scores: of all checks.
        loss: validation loss at the best check.
        raced_out: it was stopped by the race, and its score is of an unfinished training.
        spent: epochs (or steps) that it cost, with those that a race repeated.
        state: weights at the best check, with a settings axis of one; empty where they were not kept.
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
    """Return how many settings may train at once within a memory bound; at least one.

    Args:
        parameters: of one setting.
        clips: of a step.
        width: of all hidden layers together: each keeps a few values a clip for the gradient.
        memory_mb: the bound on what settings hold.
    """
    each = 4 * (_COPIES * parameters + 4 * clips * max(width, 1))
    return max(1, int(memory_mb * 1e6 // each))


def train_compat(
    config: CompatHeadConfig,
    training: CompatTraining,
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
) -> list[CompatFit]:
    """Train a head at several learning rates.

    All rates share start, order and dropout masks, so that they differ by their rate alone; how many of them train in
    one pass changes nothing but time and memory.

    Args:
        config: the head.
        training: the kit's rules.
        rates: learning rates.
        train: training clips, in the kit's order.
        valid: validation clips.
        classes: C.
        single: one label a clip (cross-entropy) or several (binary cross-entropy).
        seed: of start, order and dropout.
        device: where to train.
        memory_mb: bound on what settings hold while they train; inputs come on top.
        calibrate_on: clips whose mean and deviation standardise, where the kit takes other clips than the training's.
        keep: the weights of `all` settings, or of the `best` one only, so that memory does not grow with their number.
        progress: called with the share of the work that is done at most.

    Raises:
        TrainingError: no setting had a finite validation score.
        ConfigError: one training clip only, where batch norm needs two.
    """
    if config.batch_norm and len(train.tokens) < 2:
        raise ConfigError("batch norm needs at least 2 training clips; give more")
    probe = _head(config, train, classes, 1, seed, device)
    feeds = [Feed(side.tokens, probe, device=device) for side in (train, valid)]
    probe.calibrate((feeds[0] if calibrate_on is None else Feed(calibrate_on, probe, device=device)).all())
    buffers = {name: t for name, t in probe.named_buffers() if name in ("mean", "scale")}
    size = settings_per_pass(probe.params, min(training.batch, len(train.tokens)), sum(config.hidden), memory_mb)
    fits: list[CompatFit] = []
    for begin in range(0, len(rates), size):
        some = list(rates[begin : begin + size])

        def tell(done: float, begin: int = begin, count: int = len(some)) -> None:
            if progress is not None:
                progress((begin + done * count) / len(rates))

        def start(some: list[float] = some) -> _Pass:
            head = _head(config, train, classes, len(some), seed, device)
            for name, buffer in head.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name].expand_as(buffer))
            return _Pass(head, training, some, feeds[0], train, feeds[1], valid, single, seed, device)

        # Nothing of a pass outlives it: the next one needs the room.
        fits += start().run(tell)
        if keep == "best":
            keep_best(fits)
    if not any(fit.at for fit in fits):
        raise TrainingError(
            f"no learning rate of {', '.join(f'{r:g}' for r in rates)} gave a finite validation score; check that the "
            "embeddings are finite"
        )
    return fits


def keep_best(fits: Sequence[CompatFit]) -> CompatFit | None:
    """Forget the weights of all settings but the best one that trained to its end, the first of equals.

    Returns:
        The best one; None: no setting had a finite score.
    """
    able = [fit for fit in fits if fit.at and not fit.raced_out]
    best = max(able, key=lambda fit: fit.score, default=None)
    for fit in fits:
        if fit is not best:
            fit.state = {}
    return best


def compat_logits(
    config: CompatHeadConfig,
    fit: CompatFit,
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
    config: CompatHeadConfig, train: Labelled, classes: int, settings: int, seed: int, device: torch.device | str
) -> ProbeHead:
    generator = torch.Generator().manual_seed(seed)
    return config.build(train.tokens.shape, classes, settings=settings, generator=generator).to(device)


class _Pass:
    """Some settings that train together."""

    def __init__(
        self,
        head: ProbeHead,
        training: CompatTraining,
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
        self.fits = [CompatFit(rate) for rate in rates]
        self.standing = Standing(training.patience, training.ties, training.factor, training.plateau_patience)
        self.alive = list(range(len(rates)))
        self.order = torch.Generator().manual_seed(seed)
        self.drops = torch.Generator(device=device).manual_seed(seed)
        self.device = device

    def run(self, tell: Callable[[float], None]) -> list[CompatFit]:
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
            tell(min(1.0, (step if rule.steps else epoch) / end))
        return self.fits

    def _places(self, order: np.ndarray) -> list[np.ndarray]:
        places = [order[i : i + self.training.batch] for i in range(0, len(order), self.training.batch)]
        # Batch norm knows no deviation of one clip; the kit would stop with an error.
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
            return [self.standing.factor_of(k) for k in self.alive]
        share = 1.0
        if rule.schedule == "cosine" and rule.epochs > 1:
            share = rule.floor + (1 - rule.floor) * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / rule.epochs))
        return [share] * len(self.alive)

    def _after(self, now: int, end: int) -> None:
        """Check if it is time, and let settings stop."""
        stopped: set[int] = set()
        if now % self.training.check_every == 0:
            logits = predict_logits(self.head, self.valid_feed)
            scores = score(logits, self.valid_targets, self.metric).tolist()
            losses = self.loss(logits, self.valid_targets).tolist()
            for row, k in enumerate(self.alive):
                fit = self.fits[k]
                fit.scores.append(scores[row])
                if self.standing.better(k, scores[row]):
                    fit.score, fit.loss, fit.at = scores[row], losses[row], now
                    fit.state = {n: t[row : row + 1].detach().clone() for n, t in self.head.state_dict().items()}
                if self.standing.stops(k):
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
