"""Counts of windows, patches and subsampled frames against torch's own layers, for any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from auricle.encoders.contract import Grid, Tokens
from auricle.encoders.parts.feature_map import Window, count_through, least_through
from auricle.encoders.parts.frame_subsampling import FrameSubsampling
from auricle.encoders.parts.spectrogram_patches import Patches, concatenate_frequency, frequency_means
from auricle.errors import ConfigError

WINDOWS = st.builds(Window, st.integers(1, 9), st.integers(1, 5), st.integers(0, 4), st.integers(0, 4))


@given(window=WINDOWS, positions=st.integers(1, 60))
def test_a_window_gives_as_many_positions_as_torchs_convolution(window: Window, positions: int) -> None:
    padded = F.pad(torch.zeros(1, 1, positions), (window.left, window.right))
    fits = padded.shape[2] >= window.kernel
    expected = F.conv1d(padded, torch.zeros(1, 1, window.kernel), stride=window.stride).shape[2] if fits else 0
    assert window.count(positions) == expected
    assert window.counts(torch.tensor([positions, 0])).tolist() == [expected, window.count(0)]


# As in every network: less padding than the window is wide, so that padding alone gives no position.
NARROW = WINDOWS.filter(lambda window: window.left + window.right < window.kernel)


@given(windows=st.lists(NARROW, min_size=1, max_size=4), wanted=st.integers(1, 6))
def test_the_least_input_is_the_least(windows: list[Window], wanted: int) -> None:
    least = least_through(windows, wanted)
    assert count_through(windows, least) >= wanted
    assert least == 1 or count_through(windows, least - 1) < wanted


AXES = st.integers(1, 12).flatmap(lambda size: st.tuples(st.just(size), st.just(size) | st.integers(1, size)))


@given(frames=st.integers(1, 70), time=AXES, bands=AXES, rows=st.integers(1, 3))
def test_patches_are_those_of_unfold(frames: int, time: tuple[int, int], bands: tuple[int, int], rows: int) -> None:
    (size, over), (height, up) = time, bands
    mels = height + (rows - 1) * up
    cut = Patches((size, height), (over, up))
    x = torch.randn(2, frames, mels, generator=torch.Generator().manual_seed(0))
    found = cut.cut(x, -7.0)
    # Side by side, the last patch is completed; overlapping, only whole ones count.
    room = max(size, -(-frames // size) * size) if over == size else max(size, frames)
    padded = F.pad(x, (0, 0, 0, room - frames), value=-7.0)
    expected = F.unfold(padded.unsqueeze(1), (size, height), stride=(over, up)).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
    assert cut.columns(frames) * cut.rows(mels) == found.shape[1]
    assert cut.lengths(torch.tensor([frames, 0])).tolist() == [cut.columns(frames), 0]
    assert frames + cut.missing(frames) == room or over < size


@pytest.mark.parametrize(
    ("how", "causal"),
    [("conv2d", False), ("conv2d", True), ("conv2d_valid", False), ("stack", False), ("stack", True), ("none", False)],
)
@torch.no_grad()
def test_subsampled_frames_are_as_many_as_announced(how: str, causal: bool) -> None:
    torch.manual_seed(0)
    part = FrameSubsampling(how, mels=16, width=8, channels=3, causal=causal)  # type: ignore[arg-type]
    for frames in range(part.least_frames, 40):
        x = torch.randn(2, frames, 16)
        made = part(x, torch.tensor([frames, frames]), 0.0)
        assert made.shape == (2, part.count(frames), 8)
        assert part.counts(torch.tensor([frames])).tolist() == [part.count(frames)]
    assert part.count(part.least_frames) >= 1
    assert part.least_frames == 1 or part.count(part.least_frames - 1) == 0


@torch.no_grad()
def test_a_causal_stem_makes_a_token_of_past_frames_only() -> None:
    torch.manual_seed(0)
    for how in ("conv2d", "stack", "none"):
        part = FrameSubsampling(how, mels=16, width=8, channels=3, causal=True)  # type: ignore[arg-type]
        x = torch.randn(1, 32, 16)
        changed = x.clone()
        changed[:, 20:] += 5.0
        one, two = (part(each, torch.tensor([32]), 0.0) for each in (x, changed))
        ready = 20 // part.factor
        torch.testing.assert_close(one[:, :ready], two[:, :ready], atol=0, rtol=0)
        assert not torch.equal(one[:, ready:], two[:, ready:])


def test_frames_of_frequency_tokens_against_loops() -> None:
    grid = Grid(3, 4, 6.25)
    x = torch.arange(2 * 12 * 2.0).view(2, 12, 2)
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[1, 8:] = False
    tokens = Tokens(x, grid, valid=valid)
    joined = concatenate_frequency(tokens)
    assert (joined.grid, joined.x.shape) == (Grid(3, 1, 6.25), (2, 3, 8))
    assert joined.valid is not None
    assert joined.valid.tolist() == [[True] * 3, [True, True, False]]
    means = frequency_means(tokens)
    for clip, steps in ((0, 3), (1, 2)):
        for t in range(3):
            assert joined.x[clip, t].tolist() == [float(v) for f in range(4) for v in x[clip, 4 * t + f]]
        for f in range(4):
            expected = sum(x[clip, 4 * t + f] for t in range(steps)) / steps
            torch.testing.assert_close(means[clip, 2 * f : 2 * f + 2], expected)
    torch.testing.assert_close(frequency_means(Tokens(x, grid)), concatenate_frequency(Tokens(x, grid)).x.mean(1))
    kept = tokens.keep(torch.tensor([[0, 5], [0, 5]]))
    assert not frequency_means(kept).view(2, 4, 2)[:, 2:].any(), "a band without any token yields zeros"
    with pytest.raises(ConfigError, match="found 2 of 12 tokens, expected all"):
        concatenate_frequency(kept)
