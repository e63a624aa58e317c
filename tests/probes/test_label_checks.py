"""What a probe refuses to learn from, what it notes, and numbers as targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes import fit_probe
from auricle.probes.contract import Labelled
from auricle.probes.fitted import FittedProbe
from auricle.probes.heads.linear import LinearConfig
from auricle.probes.losses import Scaling
from auricle.probes.search.config import SearchConfig
from auricle.tokens.token_set import TokenSet

CLASSES = ("bell", "rain", "siren")
FAST = SearchConfig(epochs=3, batch=16, lr_count=2)
MEAN = LinearConfig(source="mean")


def tokens(n: int, seed: int = 0) -> TokenSet:
    return TokenSet.from_tensors(torch.randn(n, 4, 8, generator=torch.Generator().manual_seed(seed)), encoder="enc")


def single(n: int = 30, of: int = 3, seed: int = 0) -> Labelled:
    return Labelled(tokens(n, seed), torch.arange(n) % of)


def multi(n: int = 30, seed: int = 0) -> Tensor:
    return (torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) < 0.5).float()


@pytest.mark.parametrize("probe", ["linear_mean", "mhca", "protobin"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("memory", [100.0, 0.0])
def test_tokens_that_are_not_finite_are_refused(probe: str, value: float, memory: float) -> None:
    bad = single()
    dirty = bad.tokens.tokens.copy()
    dirty[7 * 4 + 2, 3] = value
    dirty[9 * 4] = value
    broken = replace(bad, tokens=replace(bad.tokens, tokens=dirty))
    search = FAST.replace(memory_mb=memory)
    with pytest.raises(ConfigError, match=r"training clips have tokens that are not finite"):
        fit_probe(probe, broken, single(seed=1), classes=CLASSES, search=search)
    with pytest.raises(ConfigError, match=r"2 validation clips .*the first: clip 7 of the validation set"):
        fit_probe(probe, single(seed=1), broken, classes=CLASSES, search=search)


def test_tokens_of_masked_places_may_hold_anything() -> None:
    clean = single()
    dirty, valid = clean.tokens.tokens.copy(), clean.tokens.valid.copy()
    valid[5] = False
    dirty[5] = np.nan
    masked = replace(clean, tokens=replace(clean.tokens, tokens=dirty, valid=valid))
    assert fit_probe("mhca", masked, single(seed=1), classes=CLASSES, search=FAST).trials


def test_one_class_teaches_nothing() -> None:
    with pytest.raises(ConfigError, match="all 30 training clips are of class 'bell'"):
        fit_probe(MEAN, single(of=1), single(seed=1), classes=CLASSES, search=FAST)
    empty = Labelled(tokens(30), torch.zeros(30, 3))
    with pytest.raises(ConfigError, match="none of 30 training clips has any label"):
        fit_probe(MEAN, empty, empty, classes=CLASSES, loss="bce", search=FAST)


def test_validation_of_one_class_and_classes_never_taught_are_noted() -> None:
    fitted = fit_probe(MEAN, single(of=2), single(of=1, seed=1), classes=CLASSES, search=FAST)
    assert any("no training clip shows 'siren'" in note for note in fitted.notes)
    assert any("all 30 validation clips are of class 'bell'" in note for note in fitted.notes)
    usual = fit_probe(MEAN, single(), single(seed=1), classes=CLASSES, search=FAST)
    assert not any("class" in note or "shows" in note for note in usual.notes)


def test_labels_unseen_in_training_score_as_errors() -> None:
    unseen = Labelled(tokens(20, 1), torch.full((20,), 2))
    last = FAST.replace(epochs=30, lr=(1e-2,), best_epoch=False)
    fitted = fit_probe(MEAN, single(of=2), unseen, classes=CLASSES, search=last)
    assert fitted.trial.score < 0.2


def test_several_labels_with_absent_and_ever_present_classes() -> None:
    y = multi()
    y[:, 1], y[:, 2] = 0, 1
    fitted = fit_probe(
        MEAN, Labelled(tokens(30), y), Labelled(tokens(30, 1), multi(seed=1)), classes=CLASSES, loss="bce", search=FAST
    )
    assert any("no training clip shows 'rain'" in note for note in fitted.notes)
    assert any("every training clip shows 'siren'" in note for note in fitted.notes)
    nothing = Labelled(tokens(30, 1), torch.zeros(30, 3))
    with pytest.raises(ConfigError, match="no validation clip has any label"):
        fit_probe(MEAN, Labelled(tokens(30), y), nothing, classes=CLASSES, loss="bce", search=FAST)


def test_class_numbers_must_be_whole() -> None:
    bad = Labelled(tokens(30), torch.rand(30))
    with pytest.raises(ConfigError, match="found \\(30,\\) float32"):
        fit_probe(MEAN, bad, single(seed=1), classes=CLASSES, search=FAST)


def pitched(n: int = 90, seed: int = 0) -> Labelled:
    """Two numbers of very different size, linear in the tokens' mean."""
    held = tokens(n, seed)
    means = held.batch(range(n)).x.mean(1)
    weight = torch.randn(8, 2, generator=torch.Generator().manual_seed(5))
    return Labelled(held, means @ weight * torch.tensor([400.0, 0.01]) + torch.tensor([880.0, -3.0]))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_numbers_are_learnt_in_their_own_units(loss: str, tmp_path: Path) -> None:
    train, valid, test = pitched(), pitched(60, 1), pitched(60, 2)
    search = SearchConfig(epochs=40, batch=16, lr=(1e-2, 1e-1), metric="mae")
    fitted = fit_probe(MEAN, train, valid, classes=("hertz", "level"), loss=loss, search=search)
    said = fitted.predict(test.tokens)
    oracle = LinearRegression().fit(train.tokens.batch(range(90)).x.mean(1), train.targets)
    expected = oracle.predict(test.tokens.batch(range(60)).x.mean(1))
    # Within a few per cent of each target's own spread of what least squares finds.
    spread = test.targets.numpy().std(0)
    assert (np.abs(said - expected).mean(0) < 0.1 * spread).all()
    wrong = np.abs(fitted.predict(valid.tokens) - valid.targets.numpy()).mean()
    assert fitted.validation == pytest.approx(wrong, rel=1e-4)
    fitted.save(tmp_path)
    assert np.array_equal(FittedProbe.load(tmp_path).predict(test.tokens), said)


def test_numbers_select_by_r2_and_never_by_accuracy() -> None:
    train, valid = pitched(), pitched(60, 1)
    names = ("hertz", "level")
    assert fit_probe(MEAN, train, valid, classes=names, loss="mse", search=FAST).metric == "r2"
    with pytest.raises(ConfigError, match="can't select"):
        fit_probe(MEAN, train, valid, classes=names, loss="mse", search=FAST.replace(metric="accuracy"))
    constant = Labelled(tokens(30), torch.ones(30, 2))
    with pytest.raises(ConfigError, match="same target"):
        fit_probe(MEAN, constant, valid, classes=names, loss="mse", search=FAST)
    broken = valid.targets.clone()
    broken[3, 0] = float("nan")
    with pytest.raises(ConfigError, match="1 of 60 validation targets are not finite"):
        fit_probe(MEAN, train, replace(valid, targets=broken), classes=names, loss="mse", search=FAST)


def test_scaling_there_and_back() -> None:
    y = torch.tensor([[100.0, 5.0, 1.0], [300.0, 5.0, 3.0]])
    scaling = Scaling.of(y)
    assert scaling == Scaling((200.0, 5.0, 2.0), (100.0, 1.0, 1.0))
    assert scaling.reduce(y).tolist() == [[-1.0, 0.0, -1.0], [1.0, 0.0, 1.0]]
    assert torch.equal(scaling.restore(scaling.reduce(y)), y)
