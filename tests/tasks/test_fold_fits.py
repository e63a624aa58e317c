"""Settings are chosen on validation clips alone; test clips choose nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.probes import SearchConfig, get_loss, get_probe
from auricle.tasks.clips.fold_fits import fit_fold
from auricle.tasks.folds import Fold
from auricle.tasks.shallow import SHALLOW_CLASSIFIERS
from auricle.tasks.targets import Targets
from auricle.tokens.token_set import TokenSet

SEARCH = SearchConfig(epochs=6, lr=(1e-3, 3e-2), weight_decay=(1e-4,), halving=(), min_batches=2)


def made(seed: int = 0, clips: int = 60) -> tuple[TokenSet, Targets, Fold]:
    generator = np.random.default_rng(seed)
    numbers = np.arange(clips) % 3
    x = generator.normal(size=(clips, 4, 8)) + np.eye(8)[numbers][:, None] * 2
    tokens = TokenSet.from_tensors(torch.from_numpy(x.astype(np.float32)), encoder="e")
    targets = Targets("single", ("a", "b", "c"), np.arange(clips), np.eye(3, dtype=bool)[numbers])
    return tokens, targets, Fold("1", np.arange(0, 30), np.arange(30, 45), np.arange(45, 60))


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("probe", ["linear", "knn", "centroid", "logistic", "ridge"])
def test_test_labels_change_nothing(probe: str, refit: bool) -> None:
    tokens, targets, fold = made()
    config = SHALLOW_CLASSIFIERS.get(probe) or get_probe(probe)
    options = {"seeds": (0, 1), "search": SEARCH, "loss": get_loss("ce"), "refit": refit}
    honest = fit_fold(config, tokens, targets, fold, **options)
    truth = targets.truth.copy()
    truth[fold.test] = np.roll(truth[fold.test], 1, axis=1)
    blind = fit_fold(config, tokens, Targets("single", targets.classes, targets.rows, truth), fold, **options)
    np.testing.assert_array_equal(honest.scores, blind.scores)
    assert honest.chosen == blind.chosen
    assert (honest.scores.argmax(2) == targets.numbers[fold.test]).mean() > 0.6
    assert honest.scores.shape == (2 if probe == "linear" else 1, 15, 3)


def test_refit_learns_from_validation_clips_too() -> None:
    tokens, targets, fold = made()
    hidden = Fold("1", fold.train[targets.numbers[fold.train] != 2], fold.valid, fold.test)
    options = {"seeds": (0,), "search": SEARCH, "loss": get_loss("ce")}
    recall = {}
    for refit in (True, False):
        scores = fit_fold(get_probe("linear"), tokens, targets, hidden, refit=refit, **options).scores[0]
        third = targets.numbers[fold.test] == 2
        recall[refit] = (scores.argmax(1)[third] == 2).mean()
    assert recall[False] == 0
    assert recall[True] > 0.5


def test_seeds_give_different_probes_and_progress_ends_at_one() -> None:
    tokens, targets, fold = made()
    told: list[float] = []
    fit = fit_fold(
        get_probe("mhca"), tokens, targets, fold, seeds=(0, 1), search=SEARCH, loss=get_loss("ce"), progress=told.append
    )
    assert not np.array_equal(fit.scores[0], fit.scores[1])
    assert told == sorted(told)
    assert told[-1] == 1.0
