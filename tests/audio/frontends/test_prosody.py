"""Tracks of prosody against slow definitions, tones, and librosa's pitch of real speech."""

from __future__ import annotations

import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auricle.audio.batch import Audio
from auricle.audio.decode import decode
from auricle.audio.frontends.prosody import ProsodyConfig, between_voiced
from auricle.errors import ConfigError

TRACKS = st.lists(st.tuples(st.floats(-9, 9), st.booleans()), min_size=1, max_size=30)


@given(track=TRACKS)
def test_unvoiced_frames_are_interpolated_as_numpy_does(track: list[tuple[float, bool]]) -> None:
    values, voiced = (np.array(each) for each in zip(*track, strict=True))
    found = between_voiced(torch.tensor(values)[None], torch.tensor(voiced)[None], 4.5)[0].numpy()
    places = np.arange(len(values))
    expected = np.interp(places, places[voiced], values[voiced]) if voiced.any() else np.full(len(values), 4.5)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("pitch", [70.0, 133.7, 220.0, 390.0])
def test_the_pitch_of_a_tone_at_any_rate(rate: int, pitch: float) -> None:
    config = ProsodyConfig(rate=rate, window=math.ceil(2 * rate / 60), hop=rate // 100)
    wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(rate) / rate)
    x = config.build()(Audio(torch.tensor(wave)[None], torch.tensor([rate]), rate)).x[0, 5:-5]
    assert x.dtype == torch.float64
    assert bool((x[:, 1] == 1).all())
    np.testing.assert_allclose(x[:, 0].exp().numpy(), pitch, rtol=5e-3)
    np.testing.assert_allclose(x[:, 2].exp().numpy(), 0.045, rtol=0.2)
    np.testing.assert_allclose(x[:, 3].numpy(), 2 * pitch / rate, atol=3 / config.window)


def test_height_of_the_autocorrelation_against_a_loop() -> None:
    """A frame is voiced where the correlation of its two stretches at the best lag is above the threshold."""
    generator = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 150 * np.arange(16000) / 16000)
    wave = 0.1 * (tone + np.linspace(0, 3, 16000) * generator.standard_normal(16000))
    config = ProsodyConfig()
    voiced = config.build()(Audio.stack([wave.astype(np.float32)], 16000)).x[0, :, 1].numpy()
    for frame in range(5, 95, 6):
        middle = frame * 160 + 80
        x = wave[middle - 320 : middle + 320]
        x = x - x.mean()
        heights = [
            (x[:-lag] @ x[lag:]) / math.sqrt((x[:-lag] @ x[:-lag]) * (x[lag:] @ x[lag:])) for lag in range(40, 268)
        ]
        if abs(max(heights) - config.voiced) > 0.05:
            assert voiced[frame] == (max(heights) > config.voiced), frame
    assert voiced[5:20].all()
    assert voiced[60:].mean() < 0.3


def test_extremes_stay_finite() -> None:
    clips = [np.zeros(5000), np.full(5000, 0.7), np.array([0.3]), np.tile([1.0, -1.0], 2500), np.zeros(0)]
    x = ProsodyConfig().build()(Audio.stack(clips, 16000)).x
    assert bool(x.isfinite().all())
    assert not x[[0, 2], :, 1].any(), "silence and a single sample are not voiced"
    assert not x[1, 3:28, 1].any(), "a constant is not voiced, but for the steps at its ends"
    assert float(x[3, 10, 3]) == pytest.approx(1.0), "a sample of each sign crosses zero every time"
    assert float(x[0, 0, 0]) == pytest.approx(math.log(math.sqrt(60 * 400)))


def test_a_gain_moves_only_the_energy() -> None:
    wave = 0.2 * np.random.default_rng(1).standard_normal(8000).astype(np.float32)
    front = ProsodyConfig().build()
    loud, soft = (front(Audio.stack([g * wave], 16000)).x[0] for g in (1.0, 0.25))
    torch.testing.assert_close(loud[:, [0, 1, 3]], soft[:, [0, 1, 3]], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loud[:, 2] - soft[:, 2], torch.full((50,), 2 * math.log(4)), atol=1e-3, rtol=0)


def test_a_range_of_pitch_that_no_rate_allows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pitch from 500.* to 400.* expected lowest < highest < rate / 4"):
        ProsodyConfig(lowest=500.0)
    with pytest.raises(ConfigError, match=r"at 1600 Hz; expected lowest < highest < rate / 4"):
        ProsodyConfig(rate=1600)


@pytest.mark.real
def test_pitch_of_real_speech_agrees_with_yin(shared_audio: Path) -> None:
    errors = []
    for path in sorted((shared_audio / "ljspeech_mini" / "clips").iterdir())[:4]:
        wave = decode(path, seconds=4.0)
        x = ProsodyConfig().build()(Audio.stack([wave], 16000)).x[0].numpy()
        yin = librosa.yin(
            np.pad(wave, 432), fmin=60, fmax=400, sr=16000, frame_length=1024, hop_length=160, center=False
        )
        count = min(len(x), len(yin))
        sure = (x[:count, 1] == 1) & (x[:count, 2] > -6)
        assert 0.2 < sure.mean() < 0.95
        errors.append(np.abs(np.log2(np.exp(x[:count, 0]) / yin[:count]))[sure])
    joint = np.concatenate(errors)
    assert float(np.median(joint)) < 0.01
    assert float((joint < 0.1).mean()) > 0.85
