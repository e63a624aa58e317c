from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import torch
from audio_clips import RATE, always, ragged, rms, seeded

from auricle.audio.batch import Audio
from auricle.audio.ops.wave_filters import BandDropConfig, EchoConfig, NarrowbandConfig, PassFilterConfig, ReverbConfig
from auricle.errors import ConfigError


def test_pass_filters_are_scipys_butterworth():
    audio = ragged(8000, 8000, 8000, 8000)
    made, certified = PassFilterConfig(p=1.0, order=3).build()(audio, seeded(3))
    low = certified["low_pass_hz"]
    assert 0 < int(low.isnan().sum()) < 4
    for before, after, a, b in zip(
        audio.wave, made.wave, low.tolist(), certified["high_pass_hz"].tolist(), strict=True
    ):
        edge, btype = (b, "high") if math.isnan(a) else (a, "low")
        sos = scipy.signal.butter(3, edge, btype, fs=RATE, output="sos")
        np.testing.assert_allclose(after, scipy.signal.sosfilt(sos, before.double().numpy()), atol=2e-6)


def test_band_drop_is_scipys_band_stop():
    audio = ragged(8000, 8000)
    made, certified = always(BandDropConfig(centre_hz=(500.0, 4000.0))).build()(audio, seeded())
    for i in range(2):
        edges = [float(certified["band_low_hz"][i]), float(certified["band_high_hz"][i])]
        sos = scipy.signal.butter(4, edges, "bandstop", fs=RATE, output="sos")
        np.testing.assert_allclose(made.wave[i], scipy.signal.sosfilt(sos, audio.wave[i].double().numpy()), atol=2e-6)


def test_narrowband_keeps_the_lower_half_only():
    audio = ragged(16000)
    made, _ = always(NarrowbandConfig()).build()(audio, seeded())
    before, after = (torch.fft.rfft(x.wave[0] * torch.hann_window(16000)).abs() for x in (audio, made))
    assert (after[100:3500] / before[100:3500]).median() == pytest.approx(1, abs=0.02)
    assert rms(after[4500:]) < 0.005 * rms(before[4500:])
    with pytest.raises(ConfigError, match="8000 Hz"):
        always(NarrowbandConfig()).build()(Audio(audio.wave, audio.lengths, 8000), seeded())


def test_reverb_decays_by_sixty_decibels_in_its_time():
    click = torch.zeros(1, RATE)
    click[0, 0] = 1.0
    config = ReverbConfig(p=1.0, rt60=(0.5, 0.5), direct_db=(3.0, 3.0), delay=0.01)
    made, _ = config.build()(Audio(click, torch.tensor([RATE]), RATE), seeded())
    wave = made.wave[0].double().numpy()
    assert (wave**2).sum() == pytest.approx(1, rel=1e-4)
    assert (wave[1:160] == 0).all() or np.abs(wave[1:160]).max() < 1e-6
    assert 10 * np.log10(wave[0] ** 2 / (wave[1:] ** 2).sum()) == pytest.approx(3.0, abs=0.05)
    remaining = 10 * np.log10(np.cumsum(wave[::-1] ** 2)[::-1])
    fit = np.polyfit(np.arange(400, 4000) / RATE, remaining[400:4000], 1)
    assert -60 / fit[0] == pytest.approx(0.5, rel=0.1)


def test_reverb_is_a_convolution_for_each_clip():
    audio = ragged(*[2000] * 18)
    click = torch.zeros(18, 2000)
    click[:, 0] = 1.0
    wet, _ = always(ReverbConfig()).build()(audio, seeded(4))
    room, _ = always(ReverbConfig()).build()(Audio(click, audio.lengths, RATE), seeded(4))
    for i in (0, 17):
        expected = np.convolve(audio.wave[i].double().numpy(), room.wave[i].double().numpy())[:2000]
        expected *= rms(audio.wave[i]) / np.sqrt(np.mean(expected**2))
        np.testing.assert_allclose(wet.wave[i], expected, atol=1e-5)


def test_echo_is_the_clip_again():
    audio = ragged(16000)
    made, certified = always(EchoConfig()).build()(audio, seeded())
    late = round(float(certified["delay"][0]) * RATE)
    before = audio.wave[0].double().numpy()
    expected = before.copy()
    expected[late:] += 0.5 * before[:-late]
    np.testing.assert_allclose(made.wave[0], expected / 1.5, atol=1e-6)
