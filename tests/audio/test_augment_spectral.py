from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.signal
import torch

from auricle.audio.augment.config import AugmentConfig, draw
from auricle.audio.augment.draws import Draws, Noise
from auricle.audio.augment.spectral import SpectralChain
from auricle.audio.augment.waveform import WaveformChain
from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.spectral import SpectralFrontEnd

RATE = 16000
KALDI = KaldiFbankConfig(mean=0.0, std=1.0, divisor=1.0).build()
LOG_MEL = LogMelConfig(low=0.0, high=8000.0).build()


def clips(*samples: int) -> Audio:
    generator = torch.Generator().manual_seed(5)
    return Audio.stack([0.1 * torch.randn(n, generator=generator) for n in samples], RATE)


def drawn(audio: Audio, front: SpectralFrontEnd = KALDI, **changes: object) -> tuple[Draws, Noise]:
    config = AugmentConfig.off().replace(**changes)
    (view,), noise = draw(config, audio, 1, front, torch.Generator().manual_seed(2))
    return view, noise


def both(audio: Audio, view: Draws, noise: Noise, front: SpectralFrontEnd = KALDI) -> tuple[Features, Features]:
    return SpectralChain(front)(audio, [view], noise)[0], WaveformChain(front)(audio, [view], noise)[0]


def sine(hz: float, seconds: float = 2.0) -> Audio:
    return Audio.stack([0.1 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)], RATE)


@pytest.mark.parametrize("front", [KALDI, LOG_MEL], ids=["kaldi", "log-mel"])
def test_the_batched_path_of_accelerators_agrees_with_the_path_of_processors(front: SpectralFrontEnd):
    audio = clips(16000, 7003, 900, 30, 1, 12000)
    views, noise = draw(AugmentConfig(), audio, 2, front, torch.Generator().manual_seed(0))
    chain = SpectralChain(front)
    for one, other in zip(chain(audio, views, noise), chain._batched(audio, views, noise), strict=True):
        assert one.lengths.equal(other.lengths)
        assert one.pad == pytest.approx(other.pad)
        # Energies next to the floor feel the rounding of large neighbours.
        torch.testing.assert_close(one.x, other.x, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("front", [KALDI, LOG_MEL], ids=["kaldi", "log-mel"])
def test_a_roll_by_whole_frames_is_exact(front: SpectralFrontEnd):
    audio = clips(16000, 16000, 9600)
    view, noise = drawn(audio, front, roll=True)
    view = dataclasses.replace(view, roll=(view.roll / 160).floor() * 160)
    a, b = both(audio, view, noise, front)
    # A centred front end reflects the rolled clip at its ends, where the circle goes on.
    edge = math.ceil(front.margin / 2 / 160)
    for x, y, n in zip(a.x, b.x, a.lengths.tolist(), strict=True):
        torch.testing.assert_close(x[edge : n - edge], y[edge : n - edge], atol=1e-3, rtol=1e-3)


def test_filters_and_gains_are_those_of_scipy_on_stationary_noise():
    audio = clips(160000)
    view, noise = drawn(audio, high_pass_p=1.0, band_stop_p=1.0, level_p=1.0, gain_beta=10.0)
    raw = KALDI(audio).x[0].exp().mean(0)
    got = SpectralChain(KALDI)(audio, [view], noise)[0].x[0].exp().mean(0) / raw
    frequencies = np.arange(257) * RATE / 512
    order = int(view.high_pass_db_per_octave) // 6
    zpk = scipy.signal.butter(order, float(view.high_pass_hz), "highpass", fs=RATE, output="zpk")
    power = np.abs(scipy.signal.freqz_zpk(*zpk, frequencies, fs=RATE)[1]) ** 2
    order = int(view.band_stop_db_per_octave) // 6
    edges = [float(view.band_stop_low_hz), float(view.band_stop_high_hz)]
    zpk = scipy.signal.butter(order, edges, "bandstop", fs=RATE, output="zpk")
    power *= np.abs(scipy.signal.freqz_zpk(*zpk, frequencies, fs=RATE)[1]) ** 2
    power *= float(view.gain) ** 2 * 10 ** (float(view.level_db) / 10)
    white = KALDI.white_noise_power()[:, None]
    filters = np.delete(KALDI.filters, 3, 1)
    expected = (filters * white * power[:, None]).sum(0) / (filters * white).sum(0)
    got = np.delete(got.numpy(), 3)
    seen = expected > 1e-3
    np.testing.assert_allclose(got[seen], expected[seen], rtol=0.2)
    assert seen.mean() > 0.5


def test_polarity_changes_nothing():
    audio = clips(8000)
    view, noise = drawn(audio, polarity_p=1.0)
    torch.testing.assert_close(SpectralChain(KALDI)(audio, [view], noise)[0].x, KALDI(audio).x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("snr_db", [-10.0, 5.0, 20.0])
@pytest.mark.parametrize("hz", [500.0, 3000.0])
def test_noise_has_the_statistics_of_added_noise(snr_db: float, hz: float):
    audio = sine(hz, 10.0)
    view, noise = drawn(audio, noise_p=1.0, snr_db=(snr_db, snr_db))
    spectral, _ = both(audio, view, noise)
    other = Noise(torch.randn(noise.wave.shape, generator=torch.Generator().manual_seed(77)))
    _, independent = both(audio, view, other)
    for statistic in (torch.mean, torch.std):
        a, b = (statistic(x.x[0].double(), 0) for x in (spectral, independent))
        keep = torch.arange(128) != 3
        assert (a - b)[keep].abs().mean() < 0.06
        assert (a - b)[keep].abs().max() < 0.35


@pytest.mark.parametrize("front", [KALDI, LOG_MEL], ids=["kaldi", "log-mel"])
@pytest.mark.parametrize("speed", [0.75, 1.0, 1.25])
def test_the_level_of_noise_follows_the_stretched_clip(front: SpectralFrontEnd, speed: float):
    # Loud in its first half only: what a slow clip keeps, and what a fast one has, decides the level. A tone, since the
    # phase vocoder loses up to a tenth of noise's amplitude.
    wave = sine(1000, 4.0).wave[0].clone()
    wave[32000:] = 0
    audio = Audio.stack([wave], RATE)
    changes = {"stretch_p": 1.0, "stretch": (speed, speed), "noise_p": 1.0, "snr_db": (0.0, 0.0)}
    view, noise = drawn(audio, front, **changes)
    a, b = both(audio, view, noise, front)
    tail = slice(int(a.lengths) - 30, int(a.lengths) - 8)
    keep = front.filters.any(0)
    difference = a.x[0, tail].mean(0)[keep] - b.x[0, tail].mean(0)[keep]
    assert difference.mean().abs() < 0.05


@pytest.mark.parametrize("speed", [0.7, 1.3])
def test_stretch_moves_events_and_ends_in_silence(speed: float):
    wave = torch.zeros(64000)
    for start in range(4000, 60000, 8000):
        wave[start : start + 800] = torch.hann_window(800) * sine(1000).wave[0, :800]
    audio = Audio.stack([wave], RATE)
    view, noise = drawn(audio, stretch_p=1.0, stretch=(speed, speed))
    loud = SpectralChain(KALDI)(audio, [view], noise)[0].x[0].exp().sum(1)
    centre = torch.arange(len(loud)) * 160 + 200.0
    for start in range(4000, 60000, 8000):
        event = (start + 400) / speed
        near = (centre - event).abs() < 2500
        if event < 62000:
            assert (loud[near] * centre[near]).sum() / loud[near].sum() == pytest.approx(event, abs=60)
    if speed > 1:
        assert (SpectralChain(KALDI)(clips(64000), [view], noise)[0].x[0, int(64000 / speed / 160) + 1 :] < -15.9).all()


@pytest.mark.parametrize("front", [KALDI, LOG_MEL], ids=["kaldi", "log-mel"])
@pytest.mark.parametrize("semitones", [-4.0, 4.0])
@pytest.mark.parametrize("hz", [440.0, 2000.0])
def test_pitch_moves_a_line_and_keeps_its_energy(front: SpectralFrontEnd, hz: float, semitones: float):
    view, noise = drawn(sine(hz), front, pitch_p=1.0, pitch=(semitones, semitones))
    moved = sine(hz * 2 ** (semitones / 12))
    got = SpectralChain(front)(sine(hz), [view], noise)[0].x[0, 20:80].double()
    expected = front.raw(moved).x[0, 20:80].double()
    assert abs(int(got.mean(0).argmax()) - int(expected.mean(0).argmax())) <= 1
    total = got.exp().sum(1).log().mean() - expected.exp().sum(1).log().mean()
    assert total.abs() < 0.25


@pytest.mark.parametrize("semitones", [-4.0, 4.0])
def test_white_noise_stays_white_under_a_pitch_shift(semitones: float):
    audio = clips(160000)
    view, noise = drawn(audio, pitch_p=1.0, pitch=(semitones, semitones))
    ratio = 2 ** (semitones / 12)
    got = SpectralChain(KALDI)(audio, [view], noise)[0].x[0].exp().mean(0) / KALDI(audio).x[0].exp().mean(0)
    frequencies = np.arange(257) * RATE / 512
    top = np.array([frequencies[column > 0].max() if column.any() else np.inf for column in KALDI.filters.T])
    inside = top < 0.97 * min(1, ratio) * RATE / 2
    # The lowest bins hold what offset removal left, measured over few bins.
    inside &= np.arange(128) > 4
    np.testing.assert_allclose(got.numpy()[inside], 1 / ratio, rtol=0.25)
    if ratio < 1:
        assert SpectralChain(KALDI)(audio, [view], noise)[0].x[0, :, -4:].max() < -15.9


def test_the_filter_that_sees_no_line_stays_at_the_floor():
    audio = clips(16000)
    views, noise = draw(AugmentConfig(), audio, 4, KALDI, torch.Generator().manual_seed(0))
    for features in SpectralChain(KALDI)(audio, views, noise):
        assert (features.x[0, :, 3] < -15.9).all()


def test_bands_without_a_single_line_are_at_the_floor():
    # All of these bands lie between two lines.
    front = LogMelConfig(mels=128, low=4.0, high=7.0).build()
    audio = clips(8000)
    views, noise = draw(AugmentConfig(), audio, 2, front, torch.Generator().manual_seed(0))
    for features in SpectralChain(front)(audio, views, noise):
        torch.testing.assert_close(features.x, torch.full_like(features.x, math.log(front.config.floor)))
