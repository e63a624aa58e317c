"""Properties of crops that hold for any length, step and number of views."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auricle.audio.batch import Audio
from auricle.audio.ops.crop import CropConfig, cut_out
from auricle.errors import ConfigError

RATE = 100
LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=5)
SAMPLES, STEPS, SEEDS = st.integers(1, 200), st.integers(0, 50), st.integers(0, 2**32)


def numbered(lengths: list[int]) -> Audio:
    """Clips whose sample i is i + 1, so that a crop shows where it was taken."""
    return Audio.stack([torch.arange(1.0, n + 1) for n in lengths], RATE)


def starts(config: CropConfig, audio: Audio, views: int, seed: int) -> torch.Tensor:
    return config.starts(audio, views, torch.Generator().manual_seed(seed))


@given(lengths=LENGTHS, samples=SAMPLES, step=STEPS, views=st.integers(1, 4), each=st.booleans(), seed=SEEDS)
def test_crops_lie_in_their_clip_on_the_grid_of_the_step(
    lengths: list[int], samples: int, step: int, views: int, each: bool, seed: int
) -> None:
    config = CropConfig(seconds=samples / RATE, each=each, step=step / RATE)
    audio = numbered(lengths)
    found = starts(config, audio, views, seed)
    assert found.shape == (views, len(lengths))
    assert torch.equal(found, starts(config, audio, views, seed))
    assert not (found % max(1, step)).any()
    assert each or bool((found == found[0]).all())
    for row, length in enumerate(lengths):
        assert int(found[:, row].min()) >= 0
        assert int(found[:, row].max()) <= max(0, length - samples)


@given(lengths=LENGTHS, samples=SAMPLES, step=STEPS, views=st.integers(2, 4), seed=SEEDS)
def test_crops_do_not_overlap_where_there_is_room(
    lengths: list[int], samples: int, step: int, views: int, seed: int
) -> None:
    config = CropConfig(seconds=samples / RATE, each=True, overlap="none", step=step / RATE)
    found = starts(config, numbered(lengths), views, seed)
    assert not (found % max(1, step)).any()
    # On the grid of the step, a crop takes up its length rounded up to whole steps.
    pitch = -(-samples // max(1, step)) * max(1, step)
    for row, length in enumerate(lengths):
        places = sorted(found[:, row].tolist())
        assert places[0] >= 0
        assert places[-1] <= max(0, length - samples)
        if length >= (views - 1) * pitch + samples:
            assert all(b - a >= samples for a, b in itertools.pairwise(places))
        elif step <= 1 and length >= samples:
            # Spread evenly: first and last crop as far apart as possible.
            assert places[0] == 0
            assert places[-1] == length - samples


@given(lengths=LENGTHS, samples=SAMPLES, seed=SEEDS, short=st.sampled_from(["pad", "silence"]))
def test_a_crop_holds_the_samples_of_its_clip(lengths: list[int], samples: int, seed: int, short: str) -> None:
    config = CropConfig(seconds=samples / RATE, short=short)  # type: ignore[arg-type]
    audio = numbered(lengths)
    start = starts(config, audio, 1, seed)[0]
    cut = config.cut(audio, start)
    assert cut.wave.shape == (len(lengths), samples)
    for row, (first, length) in enumerate(zip(start.tolist(), lengths, strict=True)):
        inside = min(samples, length - first)
        assert cut.wave[row, :inside].tolist() == list(range(first + 1, first + inside + 1))
        assert not cut.wave[row, inside:].any()
        assert int(cut.lengths[row]) == (samples if short == "silence" else inside)


def test_order_of_separate_crops_is_random() -> None:
    """The first view is not always the earlier one: its place would be a label."""
    config = CropConfig(seconds=0.2, each=True, overlap="none")
    found = starts(config, numbered([400] * 2000), 2, 3)
    assert float((found[0] < found[1]).double().mean()) == pytest.approx(0.5, abs=0.05)


def test_cutting_beyond_the_end_gives_zeros_and_no_error() -> None:
    cut = cut_out(numbered([5, 2]), torch.tensor([3, 7]), 4)
    assert cut.tolist() == [[4.0, 5.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_without_a_length_nothing_is_cropped() -> None:
    audio = numbered([7, 3])
    assert not starts(CropConfig(), audio, 3, 0).any()
    assert CropConfig().cut(audio, torch.zeros(2, dtype=torch.int64)) is audio
    with pytest.raises(ConfigError, match=r"no crop of at least one sample at 100 Hz"):
        CropConfig().samples(RATE)
    with pytest.raises(ConfigError, match=r"0.001: no crop of at least one sample"):
        starts(CropConfig(seconds=0.001), audio, 1, 0)
