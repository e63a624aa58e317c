"""Trains one probe at many settings in one pass, with successive halving.

At each rung (an epoch) only the best share of the settings continues. A pass may know the ranks of earlier passes'
settings at the same rung (`Rungs`), and ranks its own among them: settings tried one pass after another are pruned as
if they had been tried together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, Labelled, ProbeConfig, ProbeHead
from auricle.probes.fitted import Trial
from auricle.probes.losses import LossConfig, Scaling
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.feed import Feed
from auricle.probes.search.optimiser import SettingsAdamW, cosine
from auricle.probes.search.selection import score

Setting = tuple[float, float]
State = dict[str, Tensor]
Rank = tuple[float, float]
Rungs = dict[int, list[Rank]]


@dataclass
class Work:
    """What a probe learns, apart from settings and seed. Inputs are read once for all passes.

    Attributes:
        config: the probe.
        train: training clips.
        valid: validation clips; None: nothing is chosen.
        classes: C, columns of the head's output.
        loss: to minimise.
        search: epochs, batch, halving.
        metric: validation metric.
        device: where to train.
        scaling: of numbers to predict; None for labels.
    """

    feeds: ClassVar[type[Feed]] = Feed
    config: ProbeConfig
    train: Labelled
    valid: Labelled | None
    classes: int
    loss: LossConfig
    search: SearchConfig
    metric: str
    device: torch.device | str = "cpu"
    scaling: Scaling | None = None
    _feeds: dict[str, Feed] = field(default_factory=dict)

    def head(self, settings: int, generator: torch.Generator) -> ProbeHead:
        """Build the head on the device."""
        head = self.config.build(self.train.tokens.shape, self.classes, settings=settings, generator=generator)
        return head.to(self.device)

    def feed(self, side: str) -> Feed:
        """Return the inputs of the `training` or the `validation` clips; both share `search.memory_mb`."""
        if side not in self._feeds:
            part = self.train if side == "training" else self.valid
            if part is None:
                raise ConfigError("there are no validation clips to read")
            # Inputs do not depend on a head's parameters, so one head reads them for all passes.
            head = self.head(1, torch.Generator())
            left = self.search.memory_mb - sum(feed.held_mb for feed in self._feeds.values())
            self._feeds[side] = self.feeds(part.tokens, head, memory_mb=left, device=self.device)
        return self._feeds[side]

    def expected(self, part: Labelled) -> Tensor:
        """Return the targets of a side on the device, numbers standardised."""
        targets = part.targets if self.scaling is None else self.scaling.reduce(part.targets)
        return targets.to(self.device)


@dataclass
class Finished:
    """The result of a pass.

    Attributes:
        trials: one for each setting, in the order given.
        states: weights (settings axis of one) of those that finished with a finite score; `{}` for the others.
        rungs: rank of each setting at each rung that it reached.
    """

    trials: list[Trial]
    states: list[State]
    rungs: Rungs

    def finishers(self) -> list[int]:
        """Return the places of the settings that can be chosen, best first."""
        # A pruned setting's score is of an unfinished schedule.
        return sorted((k for k, state in enumerate(self.states) if state), key=lambda k: (rank(self.trials[k]), k))


def rank(trial: Trial) -> Rank:
    """Return the sort key of trials, best first: validation score, then validation loss."""
    return -trial.score, trial.loss


def train_settings(
    work: Work,
    settings: list[Setting],
    seed: int,
    *,
    progress: Callable[[int], None] | None = None,
    earlier: Rungs | None = None,
    halving: bool = True,
) -> Finished:
    """Train a probe at all settings in one pass.

    Args:
        work: to learn.
        settings: (learning rate, weight decay) pairs.
        seed: of the random start (the same for every setting) and of the order of clips.
        progress: called after each epoch with the epochs done.
        earlier: ranks of other passes' settings at the rungs.
        halving: prune as `work.search` says; False: train all settings to the end.

    Raises:
        ConfigError: a clip's tokens are not finite.
    """
    search, loss = work.search, work.loss
    generator = torch.Generator().manual_seed(seed)
    drops = torch.Generator(device=work.device).manual_seed(seed)
    head = work.head(len(settings), generator)
    feed = work.feed("training")
    head.calibrate(finite_inputs(feed, "training"))
    targets = work.expected(work.train)
    run = SettingsRun(head, settings, search.epochs, best_epoch=search.best_epoch, device=work.device, earlier=earlier)
    steps = math.ceil(len(feed) / search.batch_size(len(feed)))
    stops = {max(1, round(at * search.epochs)): share for at, share in search.halving} if halving else {}
    for epoch in range(1, search.epochs + 1):
        head.train()
        order = torch.randperm(len(feed), generator=generator).numpy()
        for i, places in enumerate(np.array_split(order, steps)):
            inputs = feed.batch(places)
            if epoch == 1:
                _check_finite(inputs, places, "training")
            total = loss(head(inputs, drops), targets[torch.from_numpy(places).to(work.device)])
            head.zero_grad()
            total.sum().backward()
            run.optimiser.step(cosine((epoch - 1) * steps + i, search.epochs * steps))
        if work.valid is None:
            run.keep_last(epoch)
        else:
            run.record(epoch, *_validate(work, head, first=epoch == 1))
            if epoch in stops and epoch < search.epochs:
                run.prune(epoch, stops[epoch])
        if progress is not None:
            progress(epoch)
        if not run.alive:
            break
    return run.finish()


@torch.no_grad()
def predict_logits(head: ProbeHead, feed: Feed) -> Tensor:
    """Return logits `(S, n, C)` of all clips, in evaluation mode."""
    head.eval()
    return feed.gather(head)


def _validate(work: Work, head: ProbeHead, *, first: bool) -> tuple[Tensor, Tensor]:
    """Score and loss `(S,)` of each setting on the validation clips."""
    valid = work.valid
    if valid is None:
        raise ConfigError("there are no validation clips to score")
    feed = work.feed("validation")
    if first:
        for _ in finite_inputs(feed, "validation"):
            pass
    logits = predict_logits(head, feed)
    losses = work.loss(logits, work.expected(valid)).double()
    if work.scaling is not None:
        return score(work.scaling.restore(logits), valid.targets.to(work.device), work.metric), losses
    return score(logits, valid.targets.to(work.device), work.metric), losses


def finite_inputs(feed: Feed, side: str) -> Iterator[Inputs]:
    """Yield the inputs of all clips.

    Args:
        feed: of the clips.
        side: `training` or `validation`, for the message.

    Raises:
        ConfigError: a clip's tokens are not finite.
    """
    begin = 0
    for inputs in feed.all():
        count = inputs.x.shape[0]
        _check_finite(inputs, np.arange(begin, begin + count), side)
        begin += count
        yield inputs


def _check_finite(inputs: Inputs, places: np.ndarray, side: str) -> None:
    # A sum is finite if every part is, and costs one pass; only a bad one is examined.
    if bool(torch.isfinite(inputs.x.sum())):
        return
    bad = ~torch.isfinite(inputs.x.flatten(1)).all(1)
    if bool(bad.any()):
        first = sorted(places[bad.cpu().numpy()].tolist())
        raise ConfigError(
            f"{len(first)} {side} clips have tokens that are not finite (the first: clip {first[0]} of the {side} "
            "set); leave them out, or fix the encoder that made them"
        )


class SettingsRun:
    """The settings of one pass: those that still run, their scores, and the best (or last) state of each.

    Args:
        head: the head to train.
        settings: (learning rate, weight decay) pairs.
        epochs: of the pass.
        best_epoch: keep each setting's best epoch; False: its last.
        device: of the optimiser.
        earlier: ranks of other passes' settings at the rungs.
    """

    def __init__(
        self,
        head: ProbeHead,
        settings: list[Setting],
        epochs: int,
        *,
        best_epoch: bool,
        device: torch.device | str,
        earlier: Rungs | None = None,
    ) -> None:
        self.head, self.epochs, self.best_epoch, self.earlier = head, epochs, best_epoch, earlier or {}
        self.alive = list(range(len(settings)))
        rates = torch.tensor(settings, dtype=torch.float32, device=device)
        self.optimiser = SettingsAdamW(head, rates[:, 0], rates[:, 1])
        self.trials = [Trial(lr=lr, weight_decay=wd) for lr, wd in settings]
        self.states: list[State] = [{} for _ in settings]
        self.rungs: Rungs = {}
        head.watch()

    def keep_last(self, epoch: int) -> None:
        """Record an epoch without validation, and keep the finite states of the last one."""
        for row, k in enumerate(self.alive):
            self.trials[k].epochs = self.trials[k].epoch = epoch
            if epoch == self.epochs and all(bool(torch.isfinite(p[row]).all()) for p in self.head.parameters()):
                self.states[k] = self._state(row)

    def record(self, epoch: int, scores: Tensor, losses: Tensor) -> None:
        """Record an epoch's validation scores and keep the state of each setting that improved."""
        watched = {name: values.tolist() for name, values in self.head.watch().items()}
        for row, k in enumerate(self.alive):
            trial, value, loss = self.trials[k], float(scores[row]), float(losses[row])
            trial.epochs = epoch
            trial.scores.append(value)
            for name, values in watched.items():
                trial.watched.setdefault(name, []).append(values[row])
            better = (value, -loss) > (trial.score, -trial.loss)
            if math.isfinite(value) and math.isfinite(loss) and (better or not self.best_epoch):
                trial.score, trial.loss, trial.epoch = value, loss, epoch
                self.states[k] = self._state(row)

    def prune(self, epoch: int, share: float) -> None:
        """Continue with the settings among the best `share` of all that were ever begun."""
        ranks = {k: rank(self.trials[k]) for k in self.alive}
        self.rungs[epoch] = list(ranks.values())
        before = self.earlier.get(epoch, [])
        begun = len(self.trials) + len(self.earlier.get(0, []))
        most = max(1, math.ceil(share * begun))
        ranked = sorted([(r, -1) for r in before] + [(r, k) for k, r in ranks.items()])
        kept = {k for _, k in ranked[:most] if k >= 0}
        rows = [row for row, k in enumerate(self.alive) if k in kept]
        for k in self.alive:
            if k not in kept:
                self.states[k] = {}
        self.alive = [self.alive[row] for row in rows]
        if rows:
            index = torch.tensor(rows, device=self.optimiser.lr.device)
            self.head.keep(index)
            self.optimiser.keep(index)

    def finish(self) -> Finished:
        """Return the result; entry 0 of the rungs counts the settings that were begun."""
        self.rungs[0] = [rank(trial) for trial in self.trials]
        return Finished(self.trials, self.states, self.rungs)

    def _state(self, row: int) -> State:
        return {n: t[row : row + 1].detach().clone() for n, t in self.head.state_dict().items()}
