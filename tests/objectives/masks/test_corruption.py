from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.errors import ConfigError
from auricle.objectives import distributed
from auricle.objectives.masks.corruption import (
    ChannelBandConfig,
    CorruptionChainConfig,
    CorruptionConfig,
    DiceSpansConfig,
    MagnitudeNoiseConfig,
    NoiseFillConfig,
)

EVERY: list[CorruptionConfig] = [
    DiceSpansConfig(),
    DiceSpansConfig(zero=0.0, swap=1.0),
    ChannelBandConfig(),
    MagnitudeNoiseConfig(probability=0.5),
    NoiseFillConfig(),
    CorruptionChainConfig(),
]
IDS = [f"{type(part).__name__}-{i}" for i, part in enumerate(EVERY)]


def features(rows: int = 6, frames: int = 300, bands: int = 80, lengths: list[int] | None = None) -> Features:
    x = torch.randn(rows, frames, bands, generator=torch.Generator().manual_seed(9)) + 3
    length = torch.tensor(lengths or [frames] * rows)
    x[torch.arange(frames) >= length.unsqueeze(1)] = -1.5
    return Features(x, length, 100.0, -1.5)


def apply(config: CorruptionConfig, given: Features, seed: int = 0) -> tuple[Tensor, Tensor]:
    made = config.apply(given, torch.Generator().manual_seed(seed))
    return made.features.x, made.altered


@pytest.mark.parametrize("config", EVERY, ids=IDS)
def test_only_chosen_elements_of_audio_change(config: CorruptionConfig) -> None:
    given = features(lengths=[300, 200, 31, 5, 1, 299])
    before, state = given.x.clone(), torch.get_rng_state()
    for seed in range(6):
        x, altered = apply(config, given, seed)
        assert torch.equal(given.x, before), "the input was written to"
        assert altered.shape == x.shape
        assert altered.dtype == torch.bool
        assert torch.equal(x[~altered], before[~altered])
        beyond = torch.arange(300) >= given.lengths.unsqueeze(1)
        assert not altered[beyond].any()
        assert (x[beyond] == -1.5).all()
        again = config.apply(given, torch.Generator().manual_seed(seed))
        assert torch.equal(x, again.features.x)
    assert torch.equal(state, torch.get_rng_state())
    assert again.features.rate == 100.0
    assert again.features.pad == -1.5
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize("config", EVERY, ids=IDS)
def test_two_ranks_alter_what_one_alters(config: CorruptionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    given = features(rows=8, lengths=[300, 200, 31, 5, 1, 299, 250, 100])
    x, altered = apply(config, given)
    monkeypatch.setattr(distributed, "world", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        mine = slice(4 * rank, 4 * rank + 4)
        part, chosen = apply(config, given[mine])
        assert torch.equal(part, x[mine])
        assert torch.equal(chosen, altered[mine])


def test_dice_spans() -> None:
    """Mockingjay's numbers: 15 % in spans of 7, and 80 / 10 / 10 by clip."""
    given = features(rows=3000, frames=400, bands=2)
    x, altered = apply(DiceSpansConfig(), given)
    frames = altered.all(2)
    assert torch.equal(frames, altered.any(2))
    # round(400 * .15 / 7) = 9 spans; without overlap 63 frames, with overlap a little fewer.
    share = frames.float().mean(1)
    assert float(share.max()) == pytest.approx(63 / 400)
    assert float(share.mean()) == pytest.approx(1 - (1 - 9 / 393) ** 7, abs=0.003)
    for row in frames[:50].int():
        edges = torch.diff(row, prepend=row.new_zeros(1), append=row.new_zeros(1))
        runs = (edges == -1).nonzero().flatten() - (edges == 1).nonzero().flatten()
        assert (runs >= 7).all()
    zeroed = torch.stack([(x[i][altered[i]] == 0).all() for i in range(3000)])
    same = (x == given.x).all(2).all(1)
    assert float(zeroed.float().mean()) == pytest.approx(0.8, abs=0.025)
    assert float(same.float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float((~zeroed & ~same).float().mean()) == pytest.approx(0.1, abs=0.02)


def test_swapped_spans_are_spans_of_the_same_clip() -> None:
    time = torch.arange(300.0).view(1, 300, 1) + 1000 * torch.arange(40.0).view(40, 1, 1)
    given = Features(time.clone(), torch.full((40,), 300), 100.0)
    x, altered = apply(DiceSpansConfig(zero=0.0, swap=1.0), given)
    assert torch.equal(x // 1000, time // 1000), "frames of another clip"
    for b in range(40):
        places = altered[b, :, 0].nonzero().flatten()
        origin = x[b, places, 0] - 1000 * b
        steps = origin.diff()[places.diff() == 1]
        # Inside a span the origins rise by one; they break only where the next span starts (6 runs of 7 at most).
        assert int((steps != 1).sum()) <= 6
        assert (origin < 300).all()
    assert (x != time).any()


def test_channel_band() -> None:
    given = features(rows=4000, frames=3, bands=80)
    x, altered = apply(ChannelBandConfig(), given)
    band = altered.any(1)
    assert torch.equal(altered, band.unsqueeze(1).expand_as(altered))
    width = band.sum(1)
    assert (x[altered] == 0).all()
    assert set(width.tolist()) == set(range(17))
    assert float(width.float().mean()) == pytest.approx(8, abs=0.3)
    some = band[width > 0].int()
    edges = torch.diff(some, dim=1, prepend=some.new_zeros(len(some), 1), append=some.new_zeros(len(some), 1))
    assert ((edges == 1).sum(1) == 1).all(), "the band has holes"


def test_magnitude_noise() -> None:
    given = features(rows=2000, frames=40, bands=10)
    x, altered = apply(MagnitudeNoiseConfig(), given)
    noisy = altered.flatten(1).all(1)
    assert torch.equal(noisy, altered.flatten(1).any(1))
    assert float(noisy.float().mean()) == pytest.approx(0.15, abs=0.025)
    difference = (x - given.x)[noisy]
    assert float(difference.std()) == pytest.approx(0.2, abs=0.003)
    assert float(difference.mean()) == pytest.approx(0, abs=0.003)
    silent, unmarked = apply(MagnitudeNoiseConfig(marks=False), given)
    assert torch.equal(silent, x)
    assert not unmarked.any()


def test_noise_fill() -> None:
    given = features(rows=400, frames=1000, bands=4)
    x, altered = apply(NoiseFillConfig(), given)
    assert float(altered.float().mean()) == pytest.approx(0.33, abs=0.02)
    assert float(x[altered].std()) == pytest.approx(0.1, abs=0.002)
    assert float(x[altered].mean()) == pytest.approx(0, abs=0.002)


def test_chain_marks_the_union() -> None:
    given = features(rows=50)
    chain = CorruptionChainConfig()
    x, altered = apply(chain, given)
    generator = torch.Generator().manual_seed(0)
    union, current = torch.zeros_like(altered), given
    for part in chain.parts:
        made = part.apply(current, generator)
        union, current = union | made.altered, made.features
    assert torch.equal(altered, union)
    assert torch.equal(x, current.x)


def test_samples_are_refused() -> None:
    wave = Features(torch.randn(2, 16000), torch.tensor([16000, 16000]), 16000.0)
    with pytest.raises(ConfigError, match="use a spectral front end"):
        NoiseFillConfig().apply(wave, torch.Generator())


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: DiceSpansConfig(share=0.0), "share is 0.0"),
        (lambda: DiceSpansConfig(span=0), "span is 0"),
        (lambda: DiceSpansConfig(zero=0.9, swap=0.2), "sum of at most 1"),
        (lambda: ChannelBandConfig(widest=1.0), "widest is 1.0"),
        (lambda: MagnitudeNoiseConfig(probability=1.1), "probability is 1.1"),
        (lambda: MagnitudeNoiseConfig(std=0.0), "std is 0.0"),
        (lambda: NoiseFillConfig(start=0.0), "start is 0.0"),
        (lambda: NoiseFillConfig(length=0), "length is 0"),
        (lambda: NoiseFillConfig(std=-1.0), "std is -1.0"),
        (lambda: CorruptionChainConfig(parts=()), "at least one corruption"),
    ],
)
def test_bad_settings_are_refused(build: Callable[[], CorruptionConfig], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build()
