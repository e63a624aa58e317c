"""Front ends of worker targets against scipy, made pitches, and padding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.frame_spectrum import FrameSpectrumConfig, cosine_transform, gammatone_filters
from auricle.audio.frontends.prosody import ProsodyConfig
from auricle.errors import ConfigError


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def test_a_frame_is_the_windowed_spectrum_around_the_middle_of_its_hop() -> None:
    wave = noise(8000)
    x = FrameSpectrumConfig().build()(Audio.stack([wave], 16000)).x[0]
    assert x.shape == (50, 1025)
    frame, middle = 20, 20 * 160 + 80
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(wave[middle - 200 : middle + 200] * window, 2048)) ** 2
    np.testing.assert_allclose(x[frame].numpy(), np.log(power + 1e-8), atol=2e-3)


def test_cepstra_are_the_cosine_transform_of_log_energies() -> None:
    np.testing.assert_allclose(cosine_transform(40, 13), scipy.fft.dct(np.eye(40), norm="ortho")[:, :13], atol=1e-12)
    audio = Audio.stack([noise(4000)], 16000)
    energies = FrameSpectrumConfig(bands="mel").build()(audio).x.numpy()
    cepstra = FrameSpectrumConfig(bands="mel", cepstra=20).build()(audio).x.numpy()
    np.testing.assert_allclose(cepstra, scipy.fft.dct(energies, norm="ortho")[..., :20], atol=1e-4)


def test_a_gammatone_filter_hears_its_own_tone_best() -> None:
    filters = gammatone_filters(30, 2048, 16000, 50.0, 8000.0)
    peaks = filters.argmax(0) * 16000 / 2048
    assert (np.diff(peaks) >= 0).all()
    assert peaks[0] < 60
    assert peaks[-1] > 7900
    np.testing.assert_allclose(filters.sum(0), 1.0)
    # 3 dB bandwidth of order 4: 0.887 of 1.019 ERB.
    centre = int(np.argmin(np.abs(peaks - 1000)))
    half = (filters[:, centre] > filters[:, centre].max() / 2).sum() * 16000 / 2048
    assert half == pytest.approx(0.887 * 24.7 * (4.37 * peaks[centre] / 1000 + 1), rel=0.15)


@pytest.mark.parametrize("hertz", [80.0, 123.4, 220.0, 350.0])
def test_pitch_of_made_voices(hertz: float) -> None:
    t = np.arange(16000) / 16000
    wave = 0.1 * sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 8))
    wave[8000:] = 0.1 * noise(8000)
    x = ProsodyConfig().build()(Audio.stack([wave.astype(np.float32)], 16000)).x[0]
    assert x.shape == (100, 4)
    assert float(x[5:45, 0].exp().mean()) == pytest.approx(hertz, rel=2e-3)
    assert float(x[5:45, 1].min()) == 1
    assert float(x[55:, 1].mean()) < 0.1
    assert float(x[10, 2]) > float(x[80, 2])
    assert float(x[80, 3]) > 3 * float(x[10, 3])


def test_padding_never_changes_a_clip_and_silence_is_finite() -> None:
    short = noise(5000, 3)
    for config in (FrameSpectrumConfig(bands="gammatone"), ProsodyConfig()):
        frontend = config.build()
        alone = frontend(Audio.stack([short], 16000))
        together = frontend(Audio.stack([short, noise(9000), np.zeros(9000, np.float32)], 16000))
        count = math.ceil(5000 / 160)
        assert alone.x.shape[1] == int(together.lengths[0]) == count == frontend.frames(5000)
        torch.testing.assert_close(alone.x[0], together.x[0, :count], atol=2e-3, rtol=1e-4)
        assert bool(torch.isfinite(together.x).all())
        assert float(together.x[0, count:].abs().max()) == 0.0


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="cepstra is 41"):
        FrameSpectrumConfig(bands="mel", cepstra=41)
    with pytest.raises(ConfigError, match="two periods of 60 Hz"):
        ProsodyConfig(window=400)
    with pytest.raises(ConfigError, match="gammatone filters from"):
        FrameSpectrumConfig(bands="gammatone", high=9000.0).build()
    with pytest.raises(ConfigError, match="8000 Hz"):
        ProsodyConfig().build()(Audio.stack([noise(800)], 8000))
