from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch

from auricle.audio.augment.config import AugmentConfig, draw
from auricle.audio.augment.draws import Draws, Noise
from auricle.audio.augment.waveform import augment_wave
from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig

RATE = 16000


def clips(*samples: int) -> Audio:
    generator = torch.Generator().manual_seed(5)
    return Audio.stack([0.1 * torch.randn(n, generator=generator) for n in samples], RATE)


def drawn(audio: Audio, **changes: object) -> tuple[Draws, Noise]:
    front = KaldiFbankConfig().build()
    (view,), noise = draw(AugmentConfig.off().replace(**changes), audio, 1, front, torch.Generator().manual_seed(2))
    return view, noise


def test_roll_is_circular_over_valid_samples():
    audio = clips(5000, 1234, 7)
    view, noise = drawn(audio, roll=True)
    out = augment_wave(audio, view, noise)
    for i, n in enumerate(audio.lengths.tolist()):
        np.testing.assert_array_equal(out.wave[i, :n], np.roll(audio.wave[i, :n].numpy(), int(view.roll[i])))
        assert (out.wave[i, n:] == 0).all()


def test_gains_and_polarity_multiply():
    audio = clips(4000, 4000, 4000, 4000)
    view, noise = drawn(audio, gain_beta=10.0, polarity_p=0.5, level_p=1.0)
    factor = view.gain * view.polarity * 10 ** (view.level_db / 20)
    torch.testing.assert_close(augment_wave(audio, view, noise).wave, audio.wave * factor[:, None].float())
    assert set(view.polarity.tolist()) == {-1.0, 1.0}


def test_filters_are_scipys_in_the_steady_state_of_the_first_sample():
    lengths = [24000, 9000] * 3
    audio = Audio.stack([clip[:n] + 0.3 for clip, n in zip(clips(*lengths).wave, lengths, strict=True)], RATE)
    view, noise = drawn(audio, high_pass_p=0.7, band_stop_p=0.7)
    out = augment_wave(audio, view, noise).wave
    for i, n in enumerate(audio.lengths.tolist()):
        expected = audio.wave[i, :n].double().numpy()
        if not view.high_pass_hz[i].isnan():
            order = int(view.high_pass_db_per_octave[i]) // 6
            sos = scipy.signal.butter(order, float(view.high_pass_hz[i]), "highpass", fs=RATE, output="sos")
            expected, _ = scipy.signal.sosfilt(sos, expected, zi=scipy.signal.sosfilt_zi(sos) * expected[0])
        if not view.band_stop_low_hz[i].isnan():
            edges = [float(view.band_stop_low_hz[i]), float(view.band_stop_high_hz[i])]
            order = int(view.band_stop_db_per_octave[i]) // 6
            sos = scipy.signal.butter(order, edges, "bandstop", fs=RATE, output="sos")
            expected, _ = scipy.signal.sosfilt(sos, expected, zi=scipy.signal.sosfilt_zi(sos) * expected[0])
        np.testing.assert_allclose(out[i, :n], expected, atol=3e-5)
        assert (out[i, n:] == 0).all()
    assert view.high_pass_hz.isnan().any()
    assert (view.high_pass_hz + view.band_stop_low_hz).isfinite().any()


def test_noise_has_the_drawn_ratio_and_stays_within_the_clip():
    audio = clips(48000, 30000, 48000)
    view, noise = drawn(audio, noise_p=1.0)
    added = augment_wave(audio, view, noise).wave - audio.wave
    for i, n in enumerate(audio.lengths.tolist()):
        ratio = 20 * math.log10(audio.wave[i, :n].std() / added[i, :n].std())
        assert ratio == pytest.approx(float(view.snr_db[i]), abs=0.1)
        assert (added[i, n:] == 0).all()
    assert abs(np.corrcoef(added[0, :30000], added[1, :30000])[0, 1]) < 0.05


def test_a_stretched_clip_keeps_its_length_and_ends_in_silence():
    audio = clips(32000, 20000)
    fast, noise = drawn(audio, stretch_p=1.0, stretch=(1.25, 1.25))
    out = augment_wave(audio, fast, noise)
    assert out.wave.shape == audio.wave.shape
    for i, n in enumerate(audio.lengths.tolist()):
        assert out.wave[i, : int(n / 1.25) - 2048].std() > 0.05
        assert (out.wave[i, int(n / 1.25) + 2048 :] == 0).all()
    slow, noise = drawn(audio, stretch_p=1.0, stretch=(0.8, 0.8))
    out = augment_wave(audio, slow, noise)
    assert out.wave[1, 18000:20000].std() > 0.05
    assert (out.wave[1, 20000:] == 0).all()


def test_noise_is_relative_to_the_stretched_clip_with_its_silence():
    audio = clips(48000)
    # 0 dB: as much noise as clip, also where the fast clip has ended.
    view, noise = drawn(audio, stretch_p=1.0, stretch=(2.0, 2.0), noise_p=1.0, snr_db=(0.0, 0.0))
    out = augment_wave(audio, view, noise).wave[0]
    clean, _ = drawn(audio, stretch_p=1.0, stretch=(2.0, 2.0))
    rms = augment_wave(audio, clean, noise).wave[0].square().mean().sqrt()
    assert out[30000:].std().item() == pytest.approx(float(rms), rel=0.05)
