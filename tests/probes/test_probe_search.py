"""Search, selection, streaming, and the fitted probe on disk."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from auricle.config import Config
from auricle.errors import CheckpointError, ConfigError, TrainingError
from auricle.probes.contract import Labelled
from auricle.probes.fitted import FILE, FittedProbe
from auricle.probes.heads.linear import LinearConfig
from auricle.probes.heads.protobin import ProtobinConfig
from auricle.probes.registry import PROBES
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.feed import Feed
from auricle.probes.search.search import fit_probe
from auricle.tokens.token_set import TokenSet

TOKEN_PROBES = sorted(name for name, config in PROBES.items() if config.reads == "tokens")

C, N, D = 3, 12, 16
CLASSES = ("bell", "rain", "siren")


def make(n: int = 120, *, seed: int = 0, multi: bool = False, ragged: bool = False, spread: int = 1) -> Labelled:
    """Clips whose class shows in `spread` of twelve tokens: weak in the mean, plain in the best token."""
    draw = torch.Generator().manual_seed(seed)
    signs = torch.randn(C, D, generator=torch.Generator().manual_seed(99)).sign()
    x = torch.randn(n, N, D, generator=draw)
    labels = torch.randint(0, C, (n,), generator=draw)
    targets: Tensor = labels
    if multi:
        targets = torch.rand(n, C, generator=draw) < 0.4
        for c in range(C):
            place = torch.randint(0, N // 2, (n,), generator=draw)
            x[torch.arange(n), place] += targets[:, c : c + 1] * 2 * signs[c]
        targets = targets.float()
    else:
        for k in range(spread):
            place = (torch.randint(0, N // 2, (n,), generator=draw) + k) % (N // 2)
            x[torch.arange(n), place] += 2 * signs[labels]
    valid = torch.ones(n, N, dtype=torch.bool)
    if ragged:
        valid = torch.arange(N)[None] < torch.randint(N // 2, N + 1, (n, 1), generator=draw)
    return Labelled(TokenSet.from_tensors(x, valid=valid, class_tokens=x[:, :1], freq=2, encoder="enc"), targets)


FAST = SearchConfig(epochs=8, batch=16, lr_count=3)


def fit(probe: str, train: Labelled, valid: Labelled | None, **settings: object) -> FittedProbe:
    settings.setdefault("search", FAST)
    return fit_probe(probe, train, valid, classes=CLASSES, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("probe", TOKEN_PROBES)
def test_every_probe_learns_from_ragged_clips(probe: str) -> None:
    train, valid, test = (
        make(ragged=True, spread=4),
        make(60, seed=1, spread=4),
        make(90, seed=2, ragged=True, spread=4),
    )
    fitted = fit(probe, train, valid, search=SearchConfig(epochs=15, batch=16, lr_count=3))
    scores = fitted.predict(test.tokens)
    assert scores.shape == (90, C)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
    accuracy = (scores.argmax(1) == test.targets.numpy()).mean()
    # The class token is one token of twelve, seldom an event.
    assert accuracy > (0.3 if probe == "linear_cls" else 0.7)
    shuffled = fit(probe, replace(train, targets=train.targets.roll(1)), replace(valid, targets=valid.targets.roll(1)))
    # Targets of other clips can't be told from tokens: chance is 1/3, the best of six settings and epochs a bit more.
    assert shuffled.trial.score < 0.62


@pytest.mark.parametrize("loss", ["bce", "asl"])
def test_multi_label(loss: str) -> None:
    fitted = fit("protobin", make(multi=True), make(60, seed=1, multi=True), loss=loss)
    test = make(90, seed=2, multi=True)
    scores = fitted.predict(test.tokens)
    hit, miss = scores[test.targets.numpy() > 0], scores[test.targets.numpy() == 0]
    assert np.median(hit) > np.quantile(miss, 0.85)
    assert fitted.metric == "map"


def test_settings_together_equal_settings_alone() -> None:
    train, valid = make(40), make(30, seed=1)
    for probe in ("linear", "mhca", ProtobinConfig(precision="exact")):
        search = SearchConfig(epochs=4, batch=16, lr=(1e-3, 1e-2), weight_decay=(0.0, 0.1), halving=())
        together = fit_probe(probe, train, valid, classes=CLASSES, search=search, seed=3)
        for trial in together.trials:
            alone = fit_probe(
                probe,
                train,
                valid,
                classes=CLASSES,
                search=search.replace(lr=(trial.lr,), weight_decay=(trial.weight_decay,)),
                seed=3,
            )
            assert alone.trial.scores == trial.scores
            assert alone.trial.loss == pytest.approx(trial.loss, rel=1e-4)


def test_the_linear_probe_reaches_logistic_regression() -> None:
    train, valid, test = make(150, spread=6), make(60, seed=1, spread=6), make(200, seed=2, spread=6)
    fitted = fit(
        LinearConfig(source="mean"),
        train,
        valid,
        search=SearchConfig(epochs=30, batch=16),  # type: ignore[arg-type]
    )
    means = [np.asarray(s.tokens.batch(range(len(s.tokens))).x.mean(1)) for s in (train, test)]
    oracle = LogisticRegression(max_iter=1000).fit(means[0], train.targets).score(means[1], test.targets)
    found = (fitted.predict(test.tokens).argmax(1) == test.targets.numpy()).mean()
    assert found > oracle - 0.05


def test_chosen_by_validation_clips_only() -> None:
    train, valid = make(60), make(30, seed=1)
    fitted = fit("linear", train, valid, search=FAST.replace(lr_count=6, halving=()))
    assert len(fitted.trials) == 12
    best = max(t.score for t in fitted.trials)
    assert fitted.trial.score == best
    assert fitted.trial.score == max(fitted.trial.scores)
    assert fitted.trial.scores[fitted.trial.epoch - 1] == best
    # The stored head is the one of the chosen epoch: it repeats the score that chose it.
    accuracy = (fitted.predict(valid.tokens).argmax(1) == valid.targets.numpy()).mean()
    assert accuracy == pytest.approx(fitted.trial.score)
    # Validation targets steer the choice and nothing else: the same trajectories under other validation clips.
    other = fit("linear", train, make(30, seed=5), search=FAST.replace(lr_count=6, halving=()))
    assert other.trials[0].scores != fitted.trials[0].scores
    same = fit("linear", train, valid, search=FAST.replace(lr_count=6, halving=()))
    assert [t.scores for t in same.trials] == [t.scores for t in fitted.trials]
    assert np.array_equal(same.predict(valid.tokens), fitted.predict(valid.tokens))


def test_last_epoch_instead_of_best() -> None:
    fitted = fit("linear", make(60), make(30, seed=1), search=FAST.replace(best_epoch=False, halving=()))
    assert all(t.epoch == FAST.epochs and t.score == t.scores[-1] for t in fitted.trials)


def test_without_validation_clips_one_setting_is_trained_to_the_end() -> None:
    train, valid = make(60), make(30, seed=1)
    only = FAST.replace(lr=(1e-2,), weight_decay=(1e-5,), best_epoch=False)
    found, watched = (fit("linear", train, v, search=only) for v in (None, valid))
    assert np.array_equal(found.predict(valid.tokens), watched.predict(valid.tokens))
    assert found.trial.epoch == FAST.epochs
    assert found.trial.scores == []
    assert found.summary()["chosen"]["score"] is None  # type: ignore[index]
    with pytest.raises(ConfigError, match="none of 6 settings can be chosen"):
        fit("linear", train, None)


def test_halving_prunes_by_validation_score() -> None:
    search = SearchConfig(epochs=10, batch=16, lr_count=4, halving=((0.2, 0.5), (0.5, 0.25)))
    fitted = fit("protobin", make(60), make(30, seed=1), search=search)
    ran = sorted(t.epochs for t in fitted.trials)
    assert ran == [2, 2, 2, 2, 5, 5, 10, 10]
    dropped = [max(t.scores[:2]) for t in fitted.trials if t.epochs == 2]
    kept = [max(t.scores[:2]) for t in fitted.trials if t.epochs > 2]
    assert max(dropped) <= min(kept)
    assert fitted.trial.epochs == 10
    assert all(len(t.watched["flips"]) == t.epochs for t in fitted.trials)
    assert all(0 <= flip <= 1 for t in fitted.trials for flip in t.watched["flips"])


def test_streaming_equals_holding() -> None:
    train, valid = make(40), make(30, seed=1)
    for probe in ("linear_time_mean", "mhca", "protobin"):
        held, streamed = (
            fit(probe, train, valid, search=FAST.replace(memory_mb=memory, epochs=3)) for memory in (100.0, 0.0)
        )
        assert np.array_equal(held.predict(valid.tokens), streamed.predict(valid.tokens))
        assert [t.scores for t in held.trials] == [t.scores for t in streamed.trials]


def test_what_is_held() -> None:
    head = PROBES["mhca"].build(make(8).tokens.shape, C, settings=1, generator=torch.Generator())
    assert Feed(make(8).tokens, head).held is not None
    assert Feed(make(8).tokens, head, memory_mb=0.001).held is None
    assert Feed(make(8, ragged=True).tokens, head).held is None
    vectors = PROBES["linear_mean"].build(make(8).tokens.shape, C, settings=1, generator=torch.Generator())
    assert Feed(make(8, ragged=True).tokens, vectors).held is not None


def test_garbage_in_padding_changes_nothing() -> None:
    clean = make(40, ragged=True)
    dirty_tokens = clean.tokens.tokens.copy()
    dirty_tokens[~clean.tokens.valid] = np.nan
    dirty = Labelled(replace(clean.tokens, tokens=dirty_tokens), clean.targets)
    valid = make(30, seed=1)
    for probe in TOKEN_PROBES:
        a, b = (fit(probe, train, valid, search=FAST.replace(epochs=2)) for train in (clean, dirty))
        assert np.array_equal(a.predict(clean.tokens), b.predict(dirty.tokens))


@pytest.mark.parametrize("probe", TOKEN_PROBES)
def test_saved_and_loaded(probe: str, tmp_path: Path) -> None:
    train, valid = make(40), make(30, seed=1)
    fitted = fit(probe, train, valid, search=FAST.replace(epochs=2))
    fitted.save(tmp_path / "probe")
    loaded = FittedProbe.load(tmp_path / "probe", encoder="enc")
    assert np.array_equal(loaded.predict(valid.tokens), fitted.predict(valid.tokens))
    for name in ("config", "shape", "classes", "loss", "search", "metric", "trials", "chosen", "seed", "encoder"):
        assert getattr(loaded, name) == getattr(fitted, name)
    assert loaded.params == fitted.params
    assert json.loads(json.dumps(loaded.summary())) == json.loads(json.dumps(fitted.summary()))


def test_a_probe_of_another_encoder_is_refused(tmp_path: Path) -> None:
    train, valid = make(40), make(30, seed=1)
    fitted = fit("linear", train, valid, search=FAST.replace(epochs=1))
    with pytest.raises(ConfigError, match="fitted on encoder 'enc'"):
        fitted.predict(replace(valid.tokens, encoder="other"))
    with pytest.raises(ConfigError, match="reads tokens of"):
        fitted.predict(replace(valid.tokens, freq=3))
    fitted.save(tmp_path)
    with pytest.raises(CheckpointError, match="reads encoder enc, expected other"):
        FittedProbe.load(tmp_path, encoder="other")
    with pytest.raises(ConfigError, match="different encoders"):
        fit("linear", train, replace(valid, tokens=replace(valid.tokens, encoder="other")))


def test_a_damaged_probe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no probe at"):
        FittedProbe.load(tmp_path)
    fit("linear", make(40), make(30, seed=1), search=FAST.replace(epochs=1)).save(tmp_path)
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        FittedProbe.load(tmp_path)


def test_one_diverging_setting_does_not_harm_the_others() -> None:
    train, valid = make(40), make(30, seed=1)
    search = FAST.replace(lr=(1e-3, 1e38), weight_decay=(0.0,), halving=())
    fitted = fit("mhca", train, valid, search=search)
    assert fitted.trial.lr == 1e-3
    alone = fit("mhca", train, valid, search=search.replace(lr=(1e-3,)))
    assert alone.trial.scores == fitted.trial.scores
    assert math.isinf(fitted.trials[1].scores[-1])
    with pytest.raises(TrainingError, match="set lower learning rates"):
        fit("mhca", train, valid, search=search.replace(lr=(1e38,)))


def test_grid_and_batch_follow_the_published_protocol() -> None:
    search = SearchConfig()
    rates = sorted({lr for lr, _ in search.grid(PROBES["mhca"])})
    assert (rates[0], rates[-1]) == (pytest.approx(1e-4), pytest.approx(7e-3))
    rates = sorted({lr for lr, _ in search.grid(PROBES["protobin"])})
    assert (rates[0], rates[-1]) == (pytest.approx(2e-3), pytest.approx(8e-2))
    assert len(search.grid(PROBES["linear"])) == 12
    for normalise, high in (("train", 1e-1), ("none", 7e-3)):
        probe = LinearConfig(normalise=normalise)
        assert search.ranges(probe)[0] == (pytest.approx(1e-4), pytest.approx(high))
        assert SearchConfig.published().ranges(probe)[0] == (pytest.approx(1e-4), pytest.approx(7e-3))
    assert [search.batch_size(n) for n in (10, 320, 1600, 40_000)] == [8, 26, 128, 128]
    assert SearchConfig(min_batches=1).batch_size(320) == 128
    assert Config.from_json(json.loads(json.dumps(search.to_json()))) == search


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"loss": "cee"}, "did you mean 'ce'"),
        ({"loss": "bce"}, r"expects training targets \(n, 3\)"),
        ({"classes": ("bell",)}, "needs at least 2"),
        ({"classes": ("bell", "rain")}, "training targets"),
    ],
)
def test_refusals(settings: dict[str, object], match: str) -> None:
    given = {"classes": CLASSES, "search": FAST, **settings}
    with pytest.raises(ConfigError, match=match):
        fit_probe("linear", make(20), make(20, seed=1), **given)  # type: ignore[arg-type]


def test_refused_targets() -> None:
    with pytest.raises(ConfigError, match="one target for each clip"):
        Labelled(make(4).tokens, torch.zeros(3))
    with pytest.raises(ConfigError, match="no clip"):
        Labelled(make(4).tokens.select([]), torch.zeros(0))
