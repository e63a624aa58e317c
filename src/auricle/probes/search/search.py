"""Fits a probe: many learning rates and weight decays at once, chosen on validation clips only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from auricle.errors import ConfigError, TrainingError
from auricle.probes.contract import Labelled, ProbeConfig
from auricle.probes.fitted import FittedProbe
from auricle.probes.label_checks import check_targets, label_notes
from auricle.probes.losses import LossConfig, Scaling, get_loss
from auricle.probes.registry import get_probe
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.selection import default_metric
from auricle.probes.search.settings_run import Finished, State, Work, train_settings
from auricle.probes.search.tpe import passes, tpe_search

Progress = Callable[[int, int], None]


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
    progress: Progress | None = None,
) -> FittedProbe:
    """Train a probe at every setting of the search and return the one with the best validation score.

    Args:
        probe: a name of `PROBES` or a probe's settings.
        train: training clips.
        valid: validation clips, which choose setting and epoch. None: nothing is chosen, and the search must hold one
            setting, which is trained for all epochs.
        classes: names of the C classes, or of the K numbers to predict.
        loss: a name of `LOSSES` or its settings.
        search: method, settings, epochs, batch. With `top_k` above 1 the best settings are trained again with seeds
            `seed` to `seed + reruns - 1`; the best mean wins, and the probe returned is its first seed's.
        seed: of the random start (the same for every setting) and of the order of clips.
        device: where to train.
        progress: called with (epochs done, epochs) after each epoch.

    Raises:
        ConfigError: targets, loss, classes and metric do not fit each other, there is nothing to learn (one class
            only, no label), a clip's tokens are not finite, or nothing can choose among settings.
        TrainingError: every setting diverged.
        MissingExtraError: the search is `tpe` and optuna is not installed.

    Examples:
        >>> from auricle.probes import Labelled
        >>> from auricle.tokens.token_set import TokenSet
        >>> classes = torch.arange(40) % 2
        >>> clips = Labelled(TokenSet.from_tensors(torch.randn(40, 4, 8) + classes.view(40, 1, 1)), classes)
        >>> fitted = fit_probe("linear", clips, clips, classes=("rain", "wind"), search=SearchConfig(epochs=2))
        >>> fitted.predict(clips.tokens).shape
        (40, 2)
    """
    search = search or SearchConfig()
    seeds = range(seed, seed + (search.reruns if search.top_k > 1 and search.searches else 1))
    return fit_probe_seeds(
        probe, train, valid, classes=classes, loss=loss, search=search, seeds=seeds, device=device, progress=progress
    )[0]


def fit_probe_seeds(
    probe: str | ProbeConfig,
    train: Labelled,
    valid: Labelled | None,
    *,
    classes: Sequence[str],
    loss: str | LossConfig = "ce",
    search: SearchConfig | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[FittedProbe, ...]:
    """Search with the first seed, train the best `top_k` settings with all seeds, and return the winner's probes.

    That is the protocol of arXiv 2509.24901: a test score is then the mean over these probes, one a seed. See
    `fit_probe` for arguments and errors; `seeds` replace `search.reruns`.
    """
    config, loss, search = get_probe(probe), get_loss(loss), search or SearchConfig()
    metric = search.metric or default_metric(loss.single, loss.regression)
    if not seeds:
        raise ConfigError("no seed to train a probe with; expected at least one")
    check_targets(train, valid, classes, loss, metric)
    if valid is None and search.searches:
        count = search.trials if search.method == "tpe" else len(search.grid(config))
        raise ConfigError(f"without validation clips none of {count} settings can be chosen; set one lr and decay")
    scaling = Scaling.of(train.targets) if loss.regression else None
    work = Work(config, train, valid, len(classes), loss, search, metric, device, scaling)
    found, best, states = search_settings(work, seeds, progress=progress)
    chosen = found.trials[best[0]]
    edges = search.edge_notes(config, chosen.lr, chosen.weight_decay)
    notes = (*label_notes(train, valid, classes, loss), *edges)

    def fitted(state: State, seed: int) -> FittedProbe:
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
            trials=[replace(trial) for trial in found.trials],
            chosen=best[0],
            seed=seed,
            encoder=train.tokens.encoder,
            layer=train.tokens.layer,
            scaling=scaling,
            notes=notes,
        )

    return tuple(fitted(state, seed) for state, seed in zip(states, seeds, strict=True))


def search_settings(
    work: Work, seeds: Sequence[int], *, progress: Progress | None = None
) -> tuple[Finished, list[int], list[State]]:
    """Try all settings with the first seed, and train the best `top_k` with all seeds if there are several.

    Args:
        work: to learn, with its search.
        seeds: at least one.
        progress: called with (epochs done, epochs) after each epoch.

    Returns:
        All that was tried; places of the settings that can be chosen, best first; the best one's weights by seed.

    Raises:
        TrainingError: every setting diverged.
        MissingExtraError: the search is `tpe` and optuna is not installed.
    """
    search, epochs = work.search, work.search.epochs
    guided = search.method == "tpe" and search.searches
    rounds = len(passes(search)) if guided else 1
    total = (rounds + len(seeds) - 1) * epochs

    def report(done: int) -> None:
        if progress is not None:
            progress(done, total)

    if guided:
        found = tpe_search(work, seeds[0], progress=lambda number, epoch: report(number * epochs + epoch))
    else:
        found = train_settings(work, search.grid(work.config), seeds[0], progress=report)
    best = found.finishers()
    if not best:
        rates = sorted({t.lr for t in found.trials})
        raise TrainingError(
            f"no learning rate from {rates[0]:g} to {rates[-1]:g} gave a finite loss; check that the tokens are "
            "finite, or set lower learning rates"
        )
    states = [found.states[best[0]]]
    if len(seeds) > 1:
        best, states = _rerun(
            work, found, best[: search.top_k], seeds, progress=lambda done: report(rounds * epochs + done)
        )
    # A pass that was pruned as a whole ended early.
    report(total)
    return found, best, states


def _rerun(
    work: Work, found: Finished, best: Sequence[int], seeds: Sequence[int], *, progress: Callable[[int], None]
) -> tuple[list[int], list[State]]:
    """Train the best settings again with other seeds: the best mean over seeds wins (ties: lower mean loss).

    The best of fifty validation scores is a lucky draw; means over seeds separate better settings from luck. Each trial
    gets `reruns`, its validation scores by seed. All settings of a seed train in one pass.

    Args:
        work: to learn.
        found: the search, made with `seeds[0]`.
        best: places of the settings in `found.trials`.
        seeds: all seeds.
        progress: called with the epochs done.

    Returns:
        The places, best mean first, and the weights of the first for each seed.

    Raises:
        TrainingError: every setting diverged with some seed.
    """
    scores = {k: [found.trials[k].score] for k in best}
    losses = {k: [found.trials[k].loss] for k in best}
    states = {k: [found.states[k]] for k in best}
    settings = [(found.trials[k].lr, found.trials[k].weight_decay) for k in best]
    for number, seed in enumerate(seeds[1:]):

        def report(epoch: int, shift: int = number * work.search.epochs) -> None:
            progress(shift + epoch)

        again = train_settings(work, settings, seed, halving=False, progress=report)
        for k, trial, state in zip(best, again.trials, again.states, strict=True):
            scores[k].append(trial.score)
            losses[k].append(trial.loss)
            states[k].append(state)
    if work.valid is not None:
        for k in best:
            found.trials[k].reruns = scores[k]
    chosen = [k for k in best if all(states[k])]
    if not chosen:
        raise TrainingError(
            f"none of {len(best)} settings trained to a finite validation loss with all of {len(seeds)} seeds; set "
            "lower learning rates"
        )

    def mean_rank(k: int) -> tuple[float, float, int]:
        mean, loss = float(np.mean(scores[k])), float(np.mean(losses[k]))
        return (-mean if math.isfinite(mean) else math.inf), loss, best.index(k)

    order = sorted(chosen, key=mean_rank)
    return order, states[order[0]]
