"""Training by the kits' rules against plain loops of torch, one setting at a time."""

from __future__ import annotations

import copy
import math
import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.kits.early_stopping import EarlyStopping
from auricle.kits.grid import GridPoint, best_point, fit_points
from auricle.kits.head import KitHead, KitHeadConfig, KitLayersHeadConfig
from auricle.kits.training import (
    KitFit,
    KitTraining,
    kit_logits,
    settings_per_pass,
    train_kit_head,
)
from auricle.probes.contract import Labelled
from auricle.tokens.token_set import TokenSet

CLASSES, WIDTH = 4, 12


def clips(count: int, seed: int, *, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    """Vectors of four classes that noise mixes up a little."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(99))
    y = torch.arange(count) % CLASSES
    return centres[y] + noise * torch.randn(count, WIDTH, generator=generator), y


def side(count: int, seed: int, noise: float = 1.0) -> Labelled:
    x, y = clips(count, seed, noise=noise)
    return Labelled(TokenSet.from_tensors(x.unsqueeze(1)), y)


class Plain(nn.Module):
    """HEAR's predictor as torch modules, filled with one setting of a vectorised head."""

    def __init__(self, head: KitHead, row: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k in range(len(head.config.hidden) + 1):
            weight, bias = getattr(head, f"w{k}")[row], getattr(head, f"b{k}")[row]
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight.data, linear.bias.data = weight.detach().clone(), bias.detach().clone()
            # Its true gradient is zero before batch norm; Adam would make steps of the rounding noise.
            linear.bias.requires_grad = not (head.config.batch_norm and k < len(head.config.hidden))
            layers.append(linear)
            if k < len(head.config.hidden):
                layers += [nn.BatchNorm1d(weight.shape[0])] if head.config.batch_norm else []
                layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def plain_run(
    head: KitHead, lr: float, rule: KitTraining, train: Labelled, valid: Labelled
) -> tuple[list[float], int, int, nn.Module]:
    """Train one setting the slow way; returns scores of the checks, best epoch, epochs, and the best weights."""
    model = Plain(head, 0)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=rule.weight_decay)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, mode="max", factor=rule.factor, patience=rule.plateau_patience
    )
    x, y = train.tokens.batch(range(len(train.tokens))).pooled, train.targets
    vx, vy = valid.tokens.batch(range(len(valid.tokens))).pooled, valid.targets
    scores: list[float] = []
    best, best_epoch, waited, kept = -1.0, 0, 0, copy.deepcopy(model)
    for epoch in range(1, rule.epochs + 1):
        if rule.schedule == "cosine":
            share = rule.floor + (1 - rule.floor) * (1 + math.cos(math.pi * (epoch - 1) / rule.epochs)) / 2
            optimiser.param_groups[0]["lr"] = lr * share
        model.train()
        for i in range(0, len(x), rule.batch):
            logits = model(x[i : i + rule.batch])
            one_hot = nn.functional.one_hot(y[i : i + rule.batch], CLASSES).float()
            each = -(one_hot * logits.log_softmax(-1))
            loss = each.mean() if rule.per_class else each.sum(-1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if epoch % rule.check_every:
            continue
        model.eval()
        with torch.no_grad():
            score = float((model(vx).argmax(-1) == vy).double().mean())
        scores.append(score)
        if rule.schedule == "plateau":
            plateau.step(score)
        if score > best or (rule.ties == "last" and score == best):
            best, best_epoch, waited, kept = score, epoch, 0, copy.deepcopy(model)
        else:
            waited += 1
            if rule.patience and waited >= rule.patience:
                return scores, best_epoch, epoch, kept
    return scores, best_epoch, rule.epochs, kept


RULES = {
    "hear": KitTraining(batch=1024, shuffle=False, epochs=60, check_every=3, patience=4),
    "evar": KitTraining(batch=20, shuffle=False, epochs=40, patience=5, ties="last", weight_decay=1e-2, per_class=True),
    "xares": KitTraining(batch=16, shuffle=False, epochs=10, patience=0, schedule="cosine", floor=0.1),
    "marble": KitTraining(
        batch=32, shuffle=False, epochs=40, patience=12, schedule="plateau", factor=0.5, plateau_patience=1
    ),
}


@pytest.mark.parametrize("kit", sorted(RULES))
def test_each_setting_trains_as_it_would_alone_in_plain_torch(kit: str) -> None:
    rule = RULES[kit]
    config = KitHeadConfig(hidden=(16, 16) if kit == "hear" else (), batch_norm=kit == "hear")
    train, valid = side(60, 0, noise=2.0), side(40, 1, noise=2.0)
    rates = [3e-2, 3e-3, 3e-4]
    fits = train_kit_head(config, rule, rates, train, valid, CLASSES, single=True, seed=7)
    lengths = set()
    for lr, fit in zip(rates, fits, strict=True):
        start = config.build(train.tokens.shape, CLASSES, settings=1, generator=torch.Generator().manual_seed(7))
        assert isinstance(start, KitHead)
        scores, at, trained, best = plain_run(start, lr, rule, train, valid)
        assert fit.scores == pytest.approx(scores, abs=1e-9)
        assert (fit.at, fit.trained, fit.score) == (at, trained, pytest.approx(max(scores)))
        lengths.add(trained)
        with torch.no_grad():
            want = best.eval()(valid.tokens.batch(range(40)).pooled)
        assert torch.allclose(kit_logits(config, fit, valid.tokens, CLASSES), want, atol=2e-3)
    if kit in ("hear", "evar"):
        assert len(lengths) > 1, "settings should stop at different times for this test to say something"


def test_how_many_settings_train_at_once_changes_nothing() -> None:
    config = KitHeadConfig(hidden=(16,), batch_norm=True, dropout=0.2)
    rule = KitTraining(batch=16, epochs=12, patience=3)
    train, valid = side(50, 0), side(30, 1)
    rates = [1e-2, 1e-3, 3e-3, 3e-4]
    together = train_kit_head(config, rule, rates, train, valid, CLASSES, single=True, seed=1)
    assert settings_per_pass(500, 16, 16, 1e-6) == 1
    alone = train_kit_head(config, rule, rates, train, valid, CLASSES, single=True, seed=1, memory_mb=1e-6)
    for a, b in zip(together, alone, strict=True):
        assert (a.at, a.trained, a.scores) == (b.at, b.trained, b.scores)
        assert all(torch.allclose(a.state[n], b.state[n], atol=2e-3) for n in a.state)


def growth(settings: int, memory_mb: float) -> float:
    """How far the peak of this process rises (MB) while it trains so many settings of a head."""
    torch.set_num_threads(1)
    config = KitHeadConfig(hidden=(512, 512), batch_norm=True)
    rule = KitTraining(batch=64, epochs=2, check_every=1, patience=0)
    train, valid = side(40, 0), side(20, 1)

    def resident(what: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(what))

    def run(count: int, limit: float) -> None:
        rates = [1e-4 * (1 + k) for k in range(count)]
        train_kit_head(config, rule, rates, train, valid, CLASSES, single=True, seed=0, memory_mb=limit, keep="best")

    # What the first call brings with it (libraries, thread pools) is not the settings'.
    run(1, 60)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    run(settings, memory_mb)
    return resident("VmHWM") - before


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of a process as Linux tells it")
def test_memory_is_bounded_however_many_settings_there_are() -> None:
    # In processes of their own: what earlier tests left in the heap would be used again, and hide the growth.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        bounded, free = (pool.apply(growth, (40, limit)) for limit in (60, 1e6))
    # A setting takes some 8 MB: forty would take 320.
    assert bounded < 80
    assert free > 200


def test_workers_change_nothing_and_points_keep_their_order() -> None:
    heads = [KitHeadConfig(hidden=(8,) * k, batch_norm=True) for k in (1, 2)]
    points = [GridPoint(head=h, lr=lr) for lr in (1e-2, 1e-3) for h in heads]
    rule = KitTraining(batch=64, epochs=6, check_every=2, patience=2)
    train, valid = side(50, 0), side(30, 1)

    def run(workers: int) -> list[KitFit]:
        return fit_points(points, rule, train, valid, CLASSES, single=True, seed=3, workers=workers)

    one, two = run(1), run(2)
    assert [f.lr for f in one] == [1e-2, 1e-2, 1e-3, 1e-3]
    assert [len(two[k].scores) for k in range(4)] == [len(f.scores) for f in one]
    best = best_point(one)
    assert [bool(f.state) for f in one] == [k == best for k in range(4)]
    assert best == max(range(4), key=lambda k: (one[k].score, -k))
    assert [f.scores for f in one] == [f.scores for f in two]


def test_steps_instead_of_epochs_and_clipping() -> None:
    rule = KitTraining(batch=16, steps=25, check_every=10, patience=0, clip=1.0)
    train, valid = side(50, 0), side(30, 1)
    fit = train_kit_head(KitHeadConfig(), rule, [1e-2], train, valid, CLASSES, single=True, seed=0)[0]
    assert (fit.trained, len(fit.scores)) == (25, 2)
    assert fit.at in (10, 20)


def test_the_last_lonely_clip_of_an_epoch_is_left_out_of_batch_norm() -> None:
    rule = KitTraining(batch=16, epochs=2)
    config = KitHeadConfig(hidden=(8,), batch_norm=True)
    fit = train_kit_head(config, rule, [1e-3], side(33, 0), side(8, 1), CLASSES, single=True, seed=0)[0]
    assert all(bool(t.isfinite().all()) for t in fit.state.values())
    with pytest.raises(ConfigError, match="at least 2"):
        train_kit_head(config, rule, [1e-3], side(1, 0), side(8, 1), CLASSES, single=True, seed=0)


def test_heads_learn_and_several_labels_a_clip_too() -> None:
    x, y = clips(80, 0, noise=0.5)
    vx, vy = clips(40, 1, noise=0.5)
    train = Labelled(TokenSet.from_tensors(x.unsqueeze(1)), nn.functional.one_hot(y, CLASSES).float())
    valid = Labelled(TokenSet.from_tensors(vx.unsqueeze(1)), nn.functional.one_hot(vy, CLASSES).float())
    rule = KitTraining(batch=32, epochs=30, multi_metric="auc")
    fit = train_kit_head(KitHeadConfig(standardise=True), rule, [1e-2], train, valid, CLASSES, single=False, seed=0)[0]
    assert fit.score > 0.95
    assert fit.scores[0] < fit.score


def test_standardising_takes_the_clips_it_is_told_to() -> None:
    x, y = clips(40, 0)
    tokens = TokenSet.from_tensors((5 + 3 * x).unsqueeze(1))
    train, valid = Labelled(tokens.select(range(30)), y[:30]), Labelled(tokens.select(range(30, 40)), y[30:])
    config = KitHeadConfig(standardise=True)
    rule = KitTraining(batch=16, epochs=1)
    for clips_of, count in ((None, 30), (tokens, 40)):
        fit = train_kit_head(
            config, rule, [1e-3, 1e-2], train, valid, CLASSES, single=True, seed=0, calibrate_on=clips_of
        )[0]
        some = (5 + 3 * x)[:count]
        assert torch.allclose(fit.state["mean"][0], some.mean(0), atol=1e-5)
        assert torch.allclose(fit.state["scale"][0], 1 / some.std(0, correction=0), atol=1e-5)


def test_superb_head_projects_each_frame_before_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    layers = torch.randn(3, 2, 5, WIDTH, generator=generator)
    valid = torch.ones(2, 5, dtype=torch.bool)
    valid[1, 3:] = False
    tokens = TokenSet.of_layers([TokenSet.from_tensors(one, valid=valid) for one in layers])
    config = KitLayersHeadConfig(hidden=(7,), activation="none")
    head = config.build(tokens.shape, CLASSES, settings=2, generator=generator)
    assert isinstance(head, KitHead)
    with torch.no_grad():
        head.layer_weights.copy_(torch.randn(2, 3, generator=generator))
        found = head(head.read(tokens.batch([0, 1])))
        for s in range(2):
            share = head.layer_weights[s].softmax(0)
            for b in range(2):
                frames = [sum(share[k] * layers[k, b, t] for k in range(3)) for t in range(5) if valid[b, t]]
                hidden = [head.w0[s] @ frame + head.b0[s] for frame in frames]  # type: ignore[operator, misc]
                logits = head.w1[s] @ torch.stack(hidden).mean(0) + head.b1[s]  # type: ignore[operator, misc]
                assert torch.allclose(found[s, b], logits, atol=1e-5)
    assert head.params == 3 + 7 * (WIDTH + 1) + CLASSES * 8


def test_marble_layer_weights_start_at_random_and_superbs_at_zero() -> None:
    shape = TokenSet.of_layers([TokenSet.from_tensors(torch.randn(1, 2, WIDTH)) for _ in range(3)]).shape
    for weights, zero in (("zeros", True), ("normal", False)):
        config = KitLayersHeadConfig(weights=weights)  # type: ignore[arg-type]
        head = config.build(shape, 2, settings=1, generator=torch.Generator().manual_seed(0))
        assert isinstance(head, KitHead)
        assert bool((head.layer_weights == 0).all()) == zero


def test_stopping_counts_checks_without_a_better_score() -> None:
    first, last = EarlyStopping(patience=2), EarlyStopping(patience=2, ties="last")
    scores = [0.1, 0.5, 0.5, 0.4, 0.5, 0.3]
    kept = [[i for i, s in enumerate(scores) if standing.better(0, s)] for standing in (first, last)]
    assert kept == [[0, 1], [0, 1, 2, 4]]
    assert first.stops(0)
    assert not last.stops(0)
    assert not EarlyStopping(patience=0).stops(0)
    assert not first.better(0, math.nan)


def test_a_race_goes_on_with_the_best_and_repeats_nothing_but_epochs() -> None:
    heads = [KitHeadConfig(hidden=(8,) * k, batch_norm=True) for k in (1, 2)]
    points = [GridPoint(head=h, lr=lr) for h in heads for lr in (1e-2, 1e-5)]
    rule = KitTraining(batch=64, epochs=20, check_every=2, patience=4)
    data = (side(60, 0, 2.0), side(40, 1, 2.0), CLASSES)
    whole = fit_points(points, rule, *data, single=True, seed=0)
    raced = fit_points(points, rule.replace(race=((2, 0.5), (3, 0.25))), *data, single=True, seed=0, workers=2)
    # After two checks the two best are left, after three the best of them.
    first = sorted(range(4), key=lambda k: -max(whole[k].scores[:2]))
    assert sorted(k for k in range(4) if raced[k].trained == 4) == sorted(first[2:])
    last = next(k for k in range(4) if not raced[k].raced_out)
    assert last in first[:2]
    assert raced[last].scores == whole[last].scores
    assert raced[last].spent == 4 + 6 + whole[last].trained
    assert [f.spent for k, f in enumerate(raced) if f.trained == 6] == [4 + 6]
    assert best_point(raced) == last
    assert raced[last].state
    with pytest.raises(ConfigError, match="cosine"):
        KitTraining(race=((2, 0.5),), schedule="cosine")


def test_the_first_of_equal_points_is_chosen_and_none_is_an_error() -> None:
    fits = [KitFit(lr, score, at=3) for lr, score in ((1.0, 0.5), (2.0, 0.7), (3.0, 0.7))]
    assert best_point(fits) == 1
    fits[1].raced_out = True
    assert best_point(fits) == 2
    with pytest.raises(ConfigError, match="finite"):
        best_point([KitFit(1.0)])


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 0}, {"check_every": 600}, {"schedule": "linear"}, {"race": ((0, 0.5),)}, {"steps": -1}],
)
def test_rules_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        KitTraining(**wrong)
