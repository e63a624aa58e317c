"""Fits a probe: all learning rates and weight decays at once, chosen on validation clips only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from auricle.errors import ConfigError, TrainingError
from auricle.probes.contract import Labelled, ProbeConfig, ProbeHead
from auricle.probes.feed import Feed
from auricle.probes.fitted import FittedProbe, Trial
from auricle.probes.losses import LossConfig, get_loss
from auricle.probes.optimiser import SettingsAdamW, cosine
from auricle.probes.registry import get_probe
from auricle.probes.search_config import SearchConfig
from auricle.probes.selection import default_metric, score, validate


def fit_probe(
    probe: str | ProbeConfig,
    train: Labelled,
    valid: Labelled | None,
    *,
    classes: Sequence[str],
    loss: str | LossConfig = "ce",
    search: SearchConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> FittedProbe:
    """Train a probe at every setting of the grid in one pass and return the one that validates best.

    Args:
        probe: a name of `PROBES` or a probe's settings.
        train: training clips.
        valid: validation clips; they choose setting and epoch and take no part in training. None: nothing is chosen:
            the search must hold one setting, which is trained for all epochs.
        classes: names of the C classes.
        loss: a name of `LOSSES` or its settings.
        search: grid, epochs, batch.
        seed: of the random start (the same for every setting) and of the order of clips.
        device: where to train.
        progress: called with (epochs done, epochs) after each epoch.

    Raises:
        ConfigError: targets, loss, classes and metric do not fit each other, or nothing can choose among settings.
        TrainingError: every setting diverged.
    """
    config, loss, search = get_probe(probe), get_loss(loss), search or SearchConfig()
    metric = search.metric or default_metric(loss.single)
    _check(train, valid, classes, loss, metric)
    grid = search.grid(config)
    if valid is None and len(grid) > 1:
        raise ConfigError(f"without validation clips none of {len(grid)} settings can be chosen; give one lr and decay")
    run = _train(config, train, valid, grid, loss, search, metric, len(classes), seed, device, progress)
    trials, best, state = run.result()
    head = config.build(train.tokens.shape, len(classes), settings=1, generator=torch.Generator())
    head.load_state_dict(state)
    return FittedProbe(
        config=config,
        head=head.eval(),
        shape=train.tokens.shape,
        classes=tuple(classes),
        loss=loss,
        search=search,
        metric=metric,
        trials=trials,
        chosen=best,
        seed=seed,
        encoder=train.tokens.encoder,
        layer=train.tokens.layer,
    )


@torch.no_grad()
def predict_logits(head: ProbeHead, feed: Feed) -> Tensor:
    """Return logits `(S, n, C)` of all clips, in evaluation mode."""
    head.eval()
    return torch.cat([head(inputs) for inputs in feed.all()], 1)


def _check(train: Labelled, valid: Labelled | None, classes: Sequence[str], loss: LossConfig, metric: str) -> None:
    C, fewest = len(classes), 2 if loss.single else 1
    if fewest > C:
        raise ConfigError(f"found {C} class(es) {list(classes)}; loss {loss.name!r} needs at least {fewest}")
    parts = [("training", train)] + ([] if valid is None else [("validation", valid)])
    if valid is not None and (train.tokens.shape != valid.tokens.shape or train.tokens.encoder != valid.tokens.encoder):
        raise ConfigError("training and validation tokens come from different encoders; extract both with one encoder")
    for name, targets in ((name, part.targets) for name, part in parts):
        if loss.single and (targets.dim() != 1 or int(targets.min()) < 0 or int(targets.max()) >= C):
            raise ConfigError(f"loss 'ce' expects {name} targets (n,) in 0 ... {C - 1}, found {tuple(targets.shape)}")
        if not loss.single and tuple(targets.shape[1:]) != (C,):
            raise ConfigError(f"loss {loss.name!r} expects {name} targets (n, {C}), found {tuple(targets.shape)}")
    validate(metric, parts[-1][1].targets)


def _train(
    config: ProbeConfig,
    train: Labelled,
    valid: Labelled | None,
    grid: list[tuple[float, float]],
    loss: LossConfig,
    search: SearchConfig,
    metric: str,
    classes: int,
    seed: int,
    device: torch.device | str,
    progress: Callable[[int, int], None] | None,
) -> _Run:
    generator = torch.Generator().manual_seed(seed)
    drops = torch.Generator(device=device).manual_seed(seed)
    head = config.build(train.tokens.shape, classes, settings=len(grid), generator=generator).to(device)
    feed = Feed(train.tokens, head, memory_mb=search.memory_mb, device=device)
    head.calibrate(feed.all())
    targets = train.targets.to(device)
    check = None if valid is None else Feed(valid.tokens, head, memory_mb=search.memory_mb, device=device)
    expected = None if valid is None else valid.targets.to(device)
    run = _Run(head, grid, search, device)
    steps = math.ceil(len(feed) / search.batch_size(len(feed)))
    stops = {max(1, round(at * search.epochs)): share for at, share in search.halving}
    for epoch in range(1, search.epochs + 1):
        head.train()
        order = torch.randperm(len(feed), generator=generator).numpy()
        for i, places in enumerate(np.array_split(order, steps)):
            logits = head(feed.batch(places), drops)
            total = loss(logits, targets[torch.from_numpy(places).to(device)])
            head.zero_grad()
            total.sum().backward()
            run.optimiser.step(cosine((epoch - 1) * steps + i, search.epochs * steps))
        if check is None or expected is None:
            run.go_on(epoch)
        else:
            logits = predict_logits(head, check)
            run.record(epoch, score(logits, expected, metric), loss(logits, expected).double())
            if epoch in stops and epoch < search.epochs:
                run.halve(max(1, math.ceil(stops[epoch] * len(grid))))
        if progress is not None:
            progress(epoch, search.epochs)
    return run


class _Run:
    """The settings of one search: which still run, how each did, and the state each did best with."""

    def __init__(
        self, head: ProbeHead, grid: list[tuple[float, float]], search: SearchConfig, device: torch.device | str
    ) -> None:
        self.head, self.search = head, search
        self.alive = list(range(len(grid)))
        rates = torch.tensor(grid, dtype=torch.float32, device=device)
        self.optimiser = SettingsAdamW(head, rates[:, 0], rates[:, 1])
        self.trials = [Trial(lr=lr, weight_decay=wd) for lr, wd in grid]
        self.states: list[dict[str, Tensor]] = [{} for _ in grid]
        head.watch()

    def go_on(self, epoch: int) -> None:
        """Note an epoch of settings that nothing validates: the last one stands."""
        for k in self.alive:
            self.trials[k].epochs = self.trials[k].epoch = epoch
            self.states[k] = self.head.state_dict()

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
                self.states[k] = {n: t[row : row + 1].detach().clone() for n, t in self.head.state_dict().items()}

    def halve(self, count: int) -> None:
        """Go on with the best `count` settings only."""
        order = sorted(range(len(self.alive)), key=lambda row: self._rank(self.alive[row]))
        rows = sorted(order[:count])
        index = torch.tensor(rows, device=self.optimiser.lr.device)
        self.head.keep(index)
        self.optimiser.keep(index)
        self.alive = [self.alive[row] for row in rows]

    def result(self) -> tuple[list[Trial], int, dict[str, Tensor]]:
        """Return all trials, the best one's place, and its state (settings axis of one)."""
        # A pruned setting's score is of an unfinished schedule: only those that went to the end can be chosen.
        best = min(self.alive, key=self._rank)
        if not self.states[best]:
            rates = sorted({t.lr for t in self.trials})
            raise TrainingError(
                f"no learning rate from {rates[0]:g} to {rates[-1]:g} gave a finite validation loss; check that the "
                "tokens are finite, or give lower learning rates"
            )
        return self.trials, best, self.states[best]

    def _rank(self, k: int) -> tuple[float, float, int]:
        trial = self.trials[k]
        return -trial.score, trial.loss, k
