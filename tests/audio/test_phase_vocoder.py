from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from auricle.audio.ops.phase_vocoder import resample, shift_pitch, stretch

RATE = 16000
S = 3 * RATE


def sine(hz: float, samples: int = S) -> torch.Tensor:
    return 0.1 * torch.sin(2 * math.pi * hz * torch.arange(samples, dtype=torch.float64) / RATE)[None].float()


def peak_hz(wave: torch.Tensor) -> float:
    middle = wave[0, 4000:-4000].numpy()
    return np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * RATE / len(middle)


def noise(seed: int = 0, clips: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(clips, S, generator=torch.Generator().manual_seed(seed))


def test_speed_one_changes_nothing():
    wave = noise()
    torch.testing.assert_close(stretch(wave, torch.ones(1), S, rate=RATE), wave, atol=1e-5, rtol=0)


@pytest.mark.parametrize("speed", [0.7, 0.93, 1.3])
def test_stretch_moves_events_and_keeps_pitch_and_level(speed: float):
    factor = torch.tensor([speed])
    out = int(S / speed)
    stretched = stretch(sine(1003), factor, out, rate=RATE)
    assert peak_hz(stretched) == pytest.approx(1003, abs=1)
    assert stretched[0, 4000:-4000].std().item() == pytest.approx(0.1 / math.sqrt(2), rel=0.02)
    pulse = torch.zeros(1, S)
    for start in range(6000, S - 6000, 9000):
        pulse[0, start : start + 400] = torch.hann_window(400) * sine(1000, 400)[0]
    energy = stretch(pulse, factor, out, rate=RATE)[0].square()
    for start in range(6000, S - 6000, 9000):
        centre = (start + 200) / speed
        near = torch.arange(int(centre) - 2500, int(centre) + 2500)
        assert (energy[near] * near).sum() / energy[near].sum() == pytest.approx(centre, abs=32)
    assert stretch(noise(), factor, out, rate=RATE).std().item() == pytest.approx(0.1, rel=0.15)


def test_what_lies_beyond_the_stretched_clip_is_silent():
    out = stretch(noise(), torch.tensor([1.3]), S, rate=RATE)
    assert out[0, int(S / 1.3) + 2048 :].abs().max() == 0


@pytest.mark.parametrize("semitones", [-4.0, -0.5, 3.3])
def test_pitch_moves_and_duration_stays(semitones: float):
    ratio = 2 ** (semitones / 12)
    out = shift_pitch(sine(1003), torch.tensor([ratio]), rate=RATE)
    assert out.shape == (1, S)
    assert peak_hz(out) == pytest.approx(1003 * ratio, abs=1)
    assert out[0, 4000:-4000].std().item() == pytest.approx(0.1 / math.sqrt(2), rel=0.02)


def test_white_noise_is_drawn_out_evenly():
    ratio = 2 ** (-4 / 12)
    power = torch.fft.rfft(shift_pitch(noise(), torch.tensor([ratio]), rate=RATE)).abs().square()[0]
    power /= torch.fft.rfft(noise()).abs().square().mean()
    below, above = int(0.9 * ratio * len(power)), int(1.1 * ratio * len(power))
    assert power[:below].mean().item() == pytest.approx(1 / ratio, rel=0.25)
    assert power[above:].mean() < 0.02


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.25])
def test_resampling_a_sine_is_the_sine_read_faster(ratio: float):
    out = resample(sine(1003), torch.tensor([ratio]), int(S / ratio) - 200)
    places = torch.arange(100, out.shape[1] - 100, dtype=torch.float64) * ratio
    expected = 0.1 * torch.sin(2 * math.pi * 1003 * places / RATE)
    torch.testing.assert_close(out[0, 100:-100].double(), expected, atol=5e-4, rtol=0)


def test_resampling_upwards_does_not_alias():
    assert resample(sine(7500), torch.tensor([1.25]), int(S / 1.25) - 200)[0, 100:-100].std() < 1e-3


def test_clips_of_a_batch_do_not_meet():
    waves, factors = noise(clips=3), torch.tensor([0.8, 1.0, 1.2])
    together = stretch(waves, factors, S, rate=RATE)
    shifted = shift_pitch(waves, factors, rate=RATE)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], stretch(waves[i : i + 1], factors[i : i + 1], S, rate=RATE))
        torch.testing.assert_close(shifted[i : i + 1], shift_pitch(waves[i : i + 1], factors[i : i + 1], rate=RATE))
