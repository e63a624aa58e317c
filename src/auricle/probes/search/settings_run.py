"""Trains one probe at many settings in one pass, and drops those that fall behind.

Successive halving: at each rung (an epoch) only the best share of the settings goes on. A pass may know how the
settings of earlier passes stood at the same rung (`Rungs`): its own are then ranked among all of them, so that
settings tried one pass after another are pruned as if they had been tried together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, Labelled, ProbeConfig, ProbeHead
from auricle.probes.fitted import Trial
from auricle.probes.losses import LossConfig
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.feed import Feed
from auricle.probes.search.optimiser import SettingsAdamW, cosine
from auricle.probes.search.scaling import Scaling
from auricle.probes.search.selection import score

Setting = tuple[float, float]
State = dict[str, Tensor]
Rank = tuple[float, float]
Rungs = dict[int, list[Rank]]


@dataclass
class Work:
    """What is to be learnt, apart from settings and seed. Inputs are read once for all passes.

    Attributes:
        config: the probe.
        train: training clips.
        valid: validation clips, or None: nothing is chosen.
        classes: C, columns of the head's output.
        loss: what is minimised.
        search: epochs, batch, halving.
        metric: validation metric.
        device: where to train.
        scaling: how numbers to predict are standardised; None for labels.
    """

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
            # What a head reads does not depend on its parameters, so one reader serves all passes.
            reader = self.head(1, torch.Generator())
            left = self.search.memory_mb - sum(feed.held_mb for feed in self._feeds.values())
            self._feeds[side] = Feed(part.tokens, reader, memory_mb=left, device=self.device)
        return self._feeds[side]

    def expected(self, part: Labelled) -> Tensor:
        """Return a side's targets as the head shall give them, on the device: numbers standardised."""
        targets = part.targets if self.scaling is None else self.scaling.reduce(part.targets)
        return targets.to(self.device)


@dataclass
class Finished:
    """What a pass yields.

    Attributes:
        trials: one for each setting, in the order given.
        states: weights (settings axis of one) of those that went to the end with a finite score; `{}` for the others.
        rungs: how each setting stood at each rung that it reached.
    """

    trials: list[Trial]
    states: list[State]
    rungs: Rungs

    def finishers(self) -> list[int]:
        """Return the places of the settings that can be chosen, best first."""
        # A pruned setting's score is of an unfinished schedule.
        return sorted((k for k, state in enumerate(self.states) if state), key=lambda k: (rank(self.trials[k]), k))


def rank(trial: Trial) -> Rank:
    """Return what sorts trials, best first: validation score, then validation loss."""
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
        work: what is to be learnt.
        settings: (learning rate, weight decay) pairs.
        seed: of the random start (the same for every setting) and of the order of clips.
        progress: called after each epoch with the epochs done.
        earlier: standing of other passes' settings at the rungs.
        halving: prune as `work.search` says; False: train all settings to the end.

    Raises:
        ConfigError: a clip's tokens are not finite.
    """
    search, loss = work.search, work.loss
    generator = torch.Generator().manual_seed(seed)
    drops = torch.Generator(device=work.device).manual_seed(seed)
    head = work.head(len(settings), generator)
    feed = work.feed("training")
    head.calibrate(_finite(feed, "training"))
    targets = work.expected(work.train)
    run = _Run(head, settings, search, work.device, earlier or {})
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
            run.go_on(epoch)
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
        for _ in _finite(feed, "validation"):
            pass
    logits = predict_logits(head, feed)
    losses = work.loss(logits, work.expected(valid)).double()
    if work.scaling is not None:
        return score(work.scaling.restore(logits), valid.targets.to(work.device), work.metric), losses
    return score(logits, valid.targets.to(work.device), work.metric), losses


def _finite(feed: Feed, side: str) -> Iterator[Inputs]:
    """Go through all clips, refusing what no head can read."""
    begin = 0
    for inputs in feed.all():
        count = inputs.x.shape[0]
        _check_finite(inputs, np.arange(begin, begin + count), side)
        begin += count
        yield inputs


def _check_finite(inputs: Inputs, places: np.ndarray, side: str) -> None:
    # A sum is finite if every part is, and costs one pass; only a bad one is looked at closely.
    if bool(torch.isfinite(inputs.x.sum())):
        return
    bad = ~torch.isfinite(inputs.x.flatten(1)).all(1)
    if bool(bad.any()):
        first = sorted(places[bad.cpu().numpy()].tolist())
        raise ConfigError(
            f"{len(first)} {side} clips have tokens that are not finite (the first: clip {first[0]} of the {side} "
            "set); leave them out, or mend the encoder that made them"
        )


class _Run:
    """The settings of one pass: which still run, how each did, and the state each did best with."""

    def __init__(
        self,
        head: ProbeHead,
        settings: list[Setting],
        search: SearchConfig,
        device: torch.device | str,
        earlier: Rungs,
    ) -> None:
        self.head, self.search, self.earlier = head, search, earlier
        self.alive = list(range(len(settings)))
        rates = torch.tensor(settings, dtype=torch.float32, device=device)
        self.optimiser = SettingsAdamW(head, rates[:, 0], rates[:, 1])
        self.trials = [Trial(lr=lr, weight_decay=wd) for lr, wd in settings]
        self.states: list[State] = [{} for _ in settings]
        self.rungs: Rungs = {}
        head.watch()

    def go_on(self, epoch: int) -> None:
        """Note an epoch of settings that nothing validates: the last one stands."""
        for row, k in enumerate(self.alive):
            self.trials[k].epochs = self.trials[k].epoch = epoch
            if epoch == self.search.epochs:
                self.states[k] = self._state(row)

    def record(self, epoch: int, scores: Tensor, losses: Tensor) -> None:
        """Note an epoch's validation scores and keep the state of each setting that improved."""
        watched = {name: values.tolist() for name, values in self.head.watch().items()}
        for row, k in enumerate(self.alive):
            trial, value, loss = self.trials[k], float(scores[row]), float(losses[row])
            trial.epochs = epoch
            trial.scores.append(value)
            for name, values in watched.items():
                trial.watched.setdefault(name, []).append(values[row])
            better = (value, -loss) > (trial.score, -trial.loss)
            if math.isfinite(value) and math.isfinite(loss) and (better or not self.search.best_epoch):
                trial.score, trial.loss, trial.epoch = value, loss, epoch
                self.states[k] = self._state(row)

    def prune(self, epoch: int, share: float) -> None:
        """Go on with the settings that are among the best `share` of all that were ever begun."""
        standing = {k: rank(self.trials[k]) for k in self.alive}
        self.rungs[epoch] = list(standing.values())
        before = self.earlier.get(epoch, [])
        begun = len(self.trials) + len(self.earlier.get(0, []))
        most = max(1, math.ceil(share * begun))
        ranked = sorted([(r, -1) for r in before] + [(r, k) for k, r in standing.items()])
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
        """Return all there is; entry 0 of the rungs counts the settings that were begun."""
        self.rungs[0] = [rank(trial) for trial in self.trials]
        return Finished(self.trials, self.states, self.rungs)

    def _state(self, row: int) -> State:
        return {n: t[row : row + 1].detach().clone() for n, t in self.head.state_dict().items()}
