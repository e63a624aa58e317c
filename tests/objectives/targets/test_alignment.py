from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from waveform_references import SMALL

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.targets.alignment import align_frames, patch_size, patches, whole_ratio


def test_frames_are_aligned_by_index_mean_or_stack() -> None:
    x = torch.arange(2 * 10 * 3, dtype=torch.float64).view(2, 10, 3)
    grid = Grid(5, 1, 50.0)
    torch.testing.assert_close(align_frames(x, 100.0, grid, "index"), x[:, ::2])
    torch.testing.assert_close(align_frames(x, 100.0, grid, "mean"), (x[:, ::2] + x[:, 1::2]) / 2)
    torch.testing.assert_close(align_frames(x, 100.0, grid, "stack"), torch.cat([x[:, ::2], x[:, 1::2]], -1))
    longer = align_frames(x, 100.0, Grid(6, 1, 50.0), "index")
    torch.testing.assert_close(longer[:, -1], x[:, -1])
    with pytest.raises(
        ConfigError, match=r"1.5 frames a token is not a whole number; .*multiple of the tokens' .66.6667"
    ):
        align_frames(x, 100.0, Grid(5, 1, 66.6667), "index")
    with pytest.raises(
        ConfigError, match=r"has 10 frames at 100 per second for 50 tokens at 50 per second, expected 100"
    ):
        align_frames(x, 100.0, Grid(50, 1, 50.0), "index")


def test_patches_are_what_tokens_stand_for() -> None:
    encoder = SpectrogramTransformerConfig(width=24, depth=3, heads=2, mels=32, frames=96, drop_path=0.0).build()
    assert patch_size(encoder) == (16, 16)
    data = Features(torch.randn(1, 40, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([40]), 100.0)
    cut = patches(data, encoder.grid(40), (16, 16))
    torch.testing.assert_close(cut[0, 1], data.x[0, :16, 16:].reshape(-1))
    assert bool((cut[0, 4].view(16, 16)[8:] == data.pad).all())


@given(
    time=st.integers(1, 5), freq=st.integers(1, 3), frames=st.integers(1, 4), bands=st.integers(1, 3),
    given_frames=st.integers(1, 24),
)  # fmt: skip
def test_every_patch_against_a_loop(time: int, freq: int, frames: int, bands: int, given_frames: int) -> None:
    x = torch.arange(float(given_frames * freq * bands)).view(1, given_frames, freq * bands)
    data = Features(x, torch.tensor([given_frames]), 100.0, pad=-3.5)
    cut = patches(data, Grid(time, freq, 100.0 / frames), (frames, bands))
    assert cut.shape == (1, time * freq, frames * bands)
    for t in range(time):
        for f in range(freq):
            expected = [
                float(x[0, t * frames + i, f * bands + j]) if t * frames + i < given_frames else -3.5
                for i in range(frames)
                for j in range(bands)
            ]
            assert cut[0, t * freq + f].tolist() == expected


def test_encoders_without_patches_are_refused_with_what_to_predict_instead() -> None:
    with pytest.raises(ConfigError, match=r"WaveformTransformer reads samples.*FrontEndTargetConfig"):
        patch_size(SMALL.build())
    encoder = SpectrogramTransformerConfig(width=24, depth=1, heads=2, mels=32, frames=96).build()
    encoder.bands = 0
    with pytest.raises(ConfigError, match=r"has no fixed number of bands, so no patches; choose another target"):
        patch_size(encoder)
    encoder.bands = 33
    with pytest.raises(ConfigError, match=r"33 bands do not divide into 2 rows of tokens; .*multiple of 2"):
        patch_size(encoder)


@pytest.mark.parametrize(("rate", "token_rate", "ratio"), [(100.0, 25.0, 4), (100.0, 99.99, 1), (44.1, 6.3, 7)])
def test_whole_ratios_allow_for_rounded_rates(rate: float, token_rate: float, ratio: int) -> None:
    assert whole_ratio(rate, token_rate, "x") == ratio
    with pytest.raises(ConfigError, match=r"is not a whole number; choose a rate that is a multiple"):
        whole_ratio(rate / ratio / 2, token_rate, "x")
