"""Sobol + TPE, pruning across passes, re-runs over seeds, and what a fitted probe says of its search."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import qmc

from auricle.errors import ConfigError, MissingExtraError
from auricle.probes import fit_probe
from auricle.probes.contract import Labelled
from auricle.probes.fitted import FittedProbe, Trial
from auricle.probes.heads.linear import LinearConfig
from auricle.probes.losses import get_loss
from auricle.probes.registry import PROBES
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.search import fit_probe_seeds
from auricle.probes.search.settings_run import Work, train_settings
from auricle.probes.search.tpe import passes, propose_and_run, sobol_points, tpe_search
from auricle.tokens.token_set import TokenSet

CLASSES = ("bell", "rain", "siren")
RANGES = ((1e-4, 7e-3), (1e-5, 5e-4))
MEAN = LinearConfig(source="mean")


def make(n: int = 60, *, seed: int = 0, noise: float = 1.0) -> Labelled:
    draw = torch.Generator().manual_seed(seed)
    places = torch.randn(3, 8, generator=torch.Generator().manual_seed(9))
    labels = torch.arange(n) % 3
    x = places[labels].unsqueeze(1) + noise * 3 * torch.randn(n, 4, 8, generator=draw)
    return Labelled(TokenSet.from_tensors(x, encoder="enc"), labels)


def landscape(lr: float, decay: float) -> float:
    """A made-up validation score with its peak at lr 2e-3, decay 5e-5."""
    return -(math.log10(lr / 2e-3) ** 2) - 0.3 * math.log10(decay / 5e-5) ** 2


def finished(lr: float, decay: float, epochs: int = 30) -> Trial:
    return Trial(lr=lr, weight_decay=decay, score=landscape(lr, decay), loss=0.0, epoch=epochs, epochs=epochs)


def test_sobol_points_are_scipys_in_logarithms() -> None:
    points = np.log(np.array(sobol_points(25, RANGES, seed=3)))
    low, high = np.log([r[0] for r in RANGES]), np.log([r[1] for r in RANGES])
    engine = qmc.Sobol(d=2, scramble=True, seed=np.random.default_rng(3))
    np.testing.assert_allclose((points - low) / (high - low), engine.random(32)[:25], atol=1e-9)
    # Spread evenly: each quarter of either axis holds its share, which random points seldom do.
    for column in ((points - low) / (high - low)).T:
        assert np.bincount((column * 4).astype(int), minlength=4).min() >= 5


def test_passes_add_up() -> None:
    assert passes(SearchConfig.published()) == [25, 5, 5, 5, 5, 5]
    assert passes(SearchConfig.published(sobol_batch=10, tpe_batch=12, trials=40)) == [9, 8, 8, 8, 7]
    assert passes(SearchConfig.published(trials=7)) == [7]
    for trials in (1, 13, 50):
        assert sum(passes(SearchConfig.published(trials=trials, tpe_batch=4))) == trials


def test_tpe_learns_where_the_peak_is() -> None:
    search = SearchConfig.published()
    told: list[int] = []

    def run(settings: list[tuple[float, float]]) -> list[Trial]:
        told.append(len(settings))
        return [finished(*s) for s in settings]

    trials = propose_and_run(run, search, RANGES, seed=0)
    assert told == passes(search)
    assert len(trials) == 50
    for (low, high), name in zip(RANGES, ("lr", "weight_decay"), strict=True):
        values = np.array([getattr(t, name) for t in trials])
        assert ((values >= low) & (values <= high)).all()
    away = np.array([abs(math.log10(t.lr / 2e-3)) for t in trials])
    assert np.median(away[25:]) < 0.6 * np.median(away[:25])
    assert max(t.score for t in trials) > -0.01
    again = propose_and_run(run, search, RANGES, seed=0)
    assert [(t.lr, t.weight_decay) for t in again] == [(t.lr, t.weight_decay) for t in trials]
    other = propose_and_run(run, search, RANGES, seed=1)
    assert other[0].lr != trials[0].lr


def test_tpe_keeps_away_from_pruned_and_diverged_settings() -> None:
    def run(settings: list[tuple[float, float]]) -> list[Trial]:
        found = []
        for lr, decay in settings:
            if lr > 2e-3:
                found.append(Trial(lr, decay, epochs=30))
            elif lr < 4e-4:
                found.append(Trial(lr, decay, score=-5.0, loss=1.0, epoch=6, epochs=6))
            else:
                found.append(finished(lr, decay))
        return found

    tried = [propose_and_run(run, SearchConfig.published(), RANGES, seed=seed) for seed in range(4)]
    lr = np.array([[t.lr for t in trials] for trials in tried])
    good = (lr >= 4e-4) & (lr <= 2e-3)
    assert good[:, 25:].mean() > 1.3 * good[:, :25].mean()


def test_a_decay_of_one_value_and_a_range_from_zero() -> None:
    def run(settings: list[tuple[float, float]]) -> list[Trial]:
        return [finished(lr, 1e-5) for lr, _ in settings]

    for decays in ((1e-4, 1e-4), (0.0, 0.1)):
        trials = propose_and_run(run, SearchConfig.published(trials=12, startup=8), (RANGES[0], decays), seed=0)
        assert len(trials) == 12


def work(search: SearchConfig, noise: float = 1.0) -> Work:
    return Work(MEAN, make(noise=noise), make(45, seed=1, noise=noise), 3, get_loss("ce"), search, "accuracy")


def test_pruning_counts_the_settings_of_earlier_passes() -> None:
    search = SearchConfig(epochs=10, batch=16, halving=((0.2, 0.5), (0.5, 0.25)))
    settings = [(lr, 1e-5) for lr in np.geomspace(1e-5, 1e-1, 8).tolist()]
    together = train_settings(work(search), settings, 0)
    assert sorted(t.epochs for t in together.trials) == [2, 2, 2, 2, 5, 5, 10, 10]
    # The second pass knows the first one's standing: of eight settings begun, four may pass the first rung.
    first = train_settings(work(search), settings[:4], 0)
    second = train_settings(work(search), settings[4:], 0, earlier=first.rungs)
    ranked = sorted([*first.rungs[2], *second.rungs[2]])[:4]
    for trial, standing in zip(second.trials, second.rungs[2], strict=True):
        assert (trial.epochs > 2) == (standing in ranked)


def test_a_hopeless_pass_ends_early() -> None:
    search = SearchConfig(epochs=10, batch=16, halving=((0.2, 0.5),))
    first = train_settings(work(search, noise=0.1), [(3e-2, 0.0), (1e-1, 0.0), (5e-2, 0.0)], 0)
    second = train_settings(work(search, noise=0.1), [(1e-9, 0.0), (2e-9, 0.0)], 0, earlier=first.rungs)
    assert [t.epochs for t in second.trials] == [2, 2]
    assert second.finishers() == []
    assert first.finishers()


def test_tpe_search_of_a_real_probe() -> None:
    search = SearchConfig.published(epochs=6, batch=16, trials=20, startup=10, tpe_batch=5, lr=(1e-4, 1e-1))
    seen: list[tuple[int, int]] = []
    found = tpe_search(work(search), 0, progress=lambda number, epoch: seen.append((number, epoch)))
    assert len(found.trials) == 20
    assert {n for n, _ in seen} == {0, 1, 2}
    best = found.finishers()
    assert 1 <= len(best) <= search.top_k
    top = [found.trials[k].score for k in best]
    ended = [t.score for t in found.trials if t.epochs == 6]
    assert top == sorted(ended, reverse=True)[: len(top)]
    assert any(t.epochs < 6 for t in found.trials)


def test_fit_probe_by_tpe_reports_its_trials_and_is_repeatable() -> None:
    search = SearchConfig.published(epochs=5, batch=16, trials=12, startup=6, top_k=2, reruns=3)
    steps: list[tuple[int, int]] = []
    train, valid = make(), make(45, seed=1)
    fitted = fit_probe(
        MEAN, train, valid, classes=CLASSES, search=search, progress=lambda done, of: steps.append((done, of))
    )
    assert len(fitted.trials) == 12
    assert [d for d, _ in steps] == sorted(d for d, _ in steps)
    assert steps[-1] == ((3 + 2) * 5, (3 + 2) * 5)
    compared = [t for t in fitted.trials if t.reruns]
    assert len(compared) == 2
    assert all(len(t.reruns) == 3 for t in compared)
    assert np.mean(fitted.trial.reruns) == max(np.mean(t.reruns) for t in compared)
    assert fitted.validation == pytest.approx(np.mean(fitted.trial.reruns))
    again = fit_probe(MEAN, train, valid, classes=CLASSES, search=search)
    assert again.trials == fitted.trials
    assert np.array_equal(again.predict(valid.tokens), fitted.predict(valid.tokens))


def test_reruns_prefer_the_best_mean_and_start_from_the_searchs_own_score() -> None:
    search = SearchConfig(epochs=4, batch=16, lr_count=3, top_k=3, halving=())
    train, valid = make(noise=2.0), make(45, seed=1, noise=2.0)
    fitted = fit_probe_seeds(MEAN, train, valid, classes=CLASSES, search=search, seeds=(4, 11, 2))
    trials = fitted[0].trials
    for trial in trials:
        if trial.reruns:
            assert trial.reruns[0] == trial.score
            alone = SearchConfig(epochs=4, batch=16, lr=(trial.lr,), weight_decay=(trial.weight_decay,), halving=())
            for place, seed in enumerate((4, 11, 2)):
                one = fit_probe(MEAN, train, valid, classes=CLASSES, search=alone, seed=seed)
                assert one.trial.score == trial.reruns[place]
    means = [np.mean(t.reruns) if t.reruns else -1 for t in trials]
    assert fitted[0].chosen in np.flatnonzero(np.array(means) == max(means))
    # One probe a seed, each the one that its seed's training yields.
    assert [f.seed for f in fitted] == [4, 11, 2]
    chosen = fitted[0].trial
    alone = SearchConfig(epochs=4, batch=16, lr=(chosen.lr,), weight_decay=(chosen.weight_decay,), halving=())
    for probe in fitted:
        one = fit_probe(MEAN, train, valid, classes=CLASSES, search=alone, seed=probe.seed)
        np.testing.assert_allclose(one.predict(valid.tokens), probe.predict(valid.tokens), atol=1e-6)


def test_one_setting_is_never_searched_nor_rerun() -> None:
    search = SearchConfig.published(epochs=2, batch=16, lr=(1e-3,), weight_decay=(1e-5,))
    fitted = fit_probe(MEAN, make(), make(30, seed=1), classes=CLASSES, search=search)
    assert len(fitted.trials) == 1
    assert fitted.trial.reruns == []
    several = fit_probe_seeds(MEAN, make(), None, classes=CLASSES, search=search, seeds=(0, 1))
    assert [f.seed for f in several] == [0, 1]
    with pytest.raises(ConfigError, match="none of 50 settings can be chosen"):
        fit_probe(MEAN, make(), None, classes=CLASSES, search=SearchConfig.published())


def test_the_fitted_probe_goes_to_disk_with_its_search(tmp_path: Path) -> None:
    search = SearchConfig.published(epochs=2, batch=16, trials=6, startup=4, top_k=2, reruns=2)
    fitted = fit_probe(MEAN, make(), make(30, seed=1), classes=CLASSES, search=search)
    fitted.save(tmp_path)
    loaded = FittedProbe.load(tmp_path)
    assert loaded.trials == fitted.trials
    assert loaded.search == search
    assert loaded.notes == fitted.notes
    assert json.loads(json.dumps(fitted.summary()))["notes"] == list(fitted.notes)


def test_edges_of_the_range_are_noted() -> None:
    grid = SearchConfig(lr=(1e-3, 1e-2, 1e-1))
    assert grid.edge_notes(MEAN, 1e-2, 1e-5) == ()
    (upper,) = grid.edge_notes(MEAN, 1e-1, 1e-5)
    assert "learning rate is at the upper edge" in upper
    (lower,) = grid.edge_notes(MEAN, 1e-3, 1e-5)
    assert "lower edge of the range (0.001 to 0.1)" in lower
    default = SearchConfig()
    high = max(lr for lr, _ in default.grid(PROBES["protobin"]))
    assert "0.08" in default.edge_notes(PROBES["protobin"], high, 1e-5)[0]
    decays = SearchConfig(lr=(1e-3, 1e-2, 1e-1), weight_decay=(0.0, 1e-5, 1e-3))
    (note,) = decays.edge_notes(MEAN, 1e-2, 1e-3)
    assert "weight decay is at the upper edge" in note
    # Drawn values hardly ever hit the very end.
    assert SearchConfig.published().edge_notes(MEAN, 6.9e-3, 1e-4)
    assert SearchConfig.published().edge_notes(MEAN, 4e-3, 1e-4) == ()
    assert SearchConfig(lr=(1e-3,)).edge_notes(MEAN, 1e-3, 1e-5) == ()


def test_a_fit_at_the_edge_says_so() -> None:
    fitted = fit_probe(
        MEAN,
        make(noise=0.1),
        make(30, seed=1, noise=0.1),
        classes=CLASSES,
        search=SearchConfig(epochs=3, batch=16, lr=(1e-7, 1e-6, 1e-2), weight_decay=(0.0,), halving=()),
    )
    assert fitted.trial.lr == 1e-2
    assert any("upper edge" in note for note in fitted.notes)


def test_without_optuna_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"auricle\[search\]"):
        propose_and_run(lambda s: [], SearchConfig.published(), RANGES, seed=0)


def test_what_a_record_says_of_a_search() -> None:
    assert SearchConfig.published().describe(MEAN) == {
        "lr_range": pytest.approx([1e-4, 7e-3]),
        "weight_decay_range": [1e-5, 5e-4],
        "trials": 50,
    }
    grid = SearchConfig(lr_count=3).describe(PROBES["protobin"])
    assert len(grid["lr"]) == 3
    assert grid["weight_decay"] == [1e-5, 5e-4]


def test_training_and_validation_clips_share_the_memory() -> None:
    # Means of 60 and 45 clips of 8 numbers, 4 bytes each.
    sizes = 60 * 8 * 4 / 1e6, 45 * 8 * 4 / 1e6
    for memory, held in ((1.0, (True, True)), (sizes[0] * 1.1, (True, False)), (0.0, (False, False))):
        task = work(SearchConfig(memory_mb=memory))
        assert tuple(task.feed(side).held is not None for side in ("training", "validation")) == held
