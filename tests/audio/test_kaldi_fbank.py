from __future__ import annotations

import kaldi_native_fbank
import numpy as np
import pytest
import torch
from audio_clips import noise, one

from auricle.audio import Audio, KaldiFbankConfig
from auricle.config import Config
from auricle.errors import ConfigError

EPSILON = float(np.finfo(np.float32).eps)


def ragged(*lengths: int, seed: int = 0) -> Audio:
    return Audio.stack([noise(n, seed=seed + i) for i, n in enumerate(lengths)], 16000)


def slow_fbank(wave: np.ndarray, config: KaldiFbankConfig) -> np.ndarray:
    """The definition of Kaldi's filter bank in float64, a frame and a band at a time."""
    W, hop = int(config.rate * config.window_seconds), int(config.rate * config.hop_seconds)
    n_fft = 2
    while n_fft < W:
        n_fft *= 2
    wave = wave.astype(np.float64)
    if config.remove_clip_mean:
        wave = wave - wave.mean()
    wave = np.concatenate([wave, np.zeros(max(0, W - len(wave)))]) * config.amplitude
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(W) / (W - 1))
    if config.window == "povey":
        window = window**0.85

    def mel(hz: float) -> float:
        return 1127.0 * np.log(1.0 + hz / 700.0)

    high = config.rate / 2 if config.high is None else config.high
    step = (mel(high) - mel(config.low)) / (config.mels + 1)
    rows = []
    for start in range(0, len(wave) - W + 1, hop):
        frame = wave[start : start + W]
        frame = frame - frame.mean()
        emphasised = frame.copy()
        for i in range(1, W):
            emphasised[i] = frame[i] - config.preemphasis * frame[i - 1]
        emphasised[0] = frame[0] - config.preemphasis * frame[0]
        power = np.abs(np.fft.fft(emphasised * window, n_fft)) ** 2
        row = []
        for band in range(config.mels):
            left = mel(config.low) + band * step
            energy = 0.0
            for k in range(n_fft // 2):
                place = mel(k * config.rate / n_fft)
                if left < place < left + 2 * step:
                    energy += power[k] * (1 - abs(place - left - step) / step)
            row.append(np.log(max(energy, EPSILON)))
        rows.append(row)
    return np.array(rows)


def kaldi_native(wave: np.ndarray, config: KaldiFbankConfig) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = config.rate
    options.frame_opts.frame_length_ms = 1000 * config.window_seconds
    options.frame_opts.frame_shift_ms = 1000 * config.hop_seconds
    options.frame_opts.dither = 0.0
    options.frame_opts.preemph_coeff = config.preemphasis
    options.frame_opts.window_type = config.window
    options.mel_opts.num_bins = config.mels
    options.mel_opts.low_freq = config.low
    options.mel_opts.high_freq = 0.0 if config.high is None else config.high
    options.use_energy = False
    options.energy_floor = 0.0
    fbank = kaldi_native_fbank.OnlineFbank(options)
    wave = wave - wave.mean() if config.remove_clip_mean else wave
    fbank.accept_waveform(config.rate, (wave * config.amplitude).astype(np.float32))
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


SETTINGS = {
    "audiomosaic": KaldiFbankConfig(),
    "povey": KaldiFbankConfig(window="povey"),
    "beats": KaldiFbankConfig(window="povey", amplitude=32768.0, remove_clip_mean=False, mean=15.41663, std=6.55582),
    "speech": KaldiFbankConfig(mels=80, high=7600.0, window_seconds=0.020, remove_clip_mean=False),
    "flat": KaldiFbankConfig(mels=40, low=0.0, preemphasis=0.0),
    "telephone": KaldiFbankConfig(rate=8000, mels=64, low=100.0, high=3800.0),
    "music": KaldiFbankConfig(rate=22050, mels=96, hop_seconds=0.0125),
}


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def config(request: pytest.FixtureRequest) -> KaldiFbankConfig:
    return request.param


# Golden values of the official front end (float32 Kaldi reference, 5e-3).


def signal_a() -> np.ndarray:
    n = np.arange(160000)
    a = 0.5 * np.sin(2 * np.pi * 440 * n / 16000) + 0.25 * np.sin(2 * np.pi * 3000 * n / 16000 + 1.0)
    return a - a.mean()


def signal_b() -> np.ndarray:
    s = np.arange(160000) / 16000
    b = 0.3 * np.sin(2 * np.pi * (50 * s + 347.5 * s**2))
    return b - b.mean()


def test_golden_tones() -> None:
    x = KaldiFbankConfig().build().raw(one(signal_a())).x[0].numpy()
    assert x.shape == (998, 128)
    np.testing.assert_allclose([x.mean(), x.std(), x.max()], [-11.673665, 5.698693, 6.831330], atol=5e-3)
    first = [-14.130420, -15.615095, -12.171694, -15.942385, -11.498759, -14.477483]
    np.testing.assert_allclose(x[0, :6], first, atol=5e-3)
    np.testing.assert_allclose(x[500, 28:32], [-8.064217, -7.655542, -7.500907, -7.601097], atol=5e-3)
    assert x[500].argmax() == 84


def test_golden_chirp() -> None:
    x = KaldiFbankConfig().build().raw(one(signal_b())).x[0].numpy()
    np.testing.assert_allclose([x.mean(), x.std()], [-14.213554, 4.253175], atol=5e-3)
    frames = [0, 100, 250, 500, 750, 997]
    assert x[frames].argmax(1).tolist() == [2, 35, 63, 91, 109, 122]
    np.testing.assert_allclose(x[frames].max(1), [0.2899, 4.0976, 6.1164, 7.5060, 7.8407, 8.2513], atol=5e-3)


def test_golden_silence_and_padding() -> None:
    for settings, padding in (
        (KaldiFbankConfig(), 0.46703),
        (KaldiFbankConfig(mean=-6.6268077, std=5.358466), 0.61835),
        (KaldiFbankConfig(mean=-6.845978, std=5.5654526), 0.61504),
    ):
        front = settings.build()
        audio = Audio(torch.zeros(2, 16000), torch.tensor([16000, 8000]), 16000)
        assert torch.allclose(front.raw(audio).x[0], torch.tensor(-15.942385))
        features = front(audio)
        assert features.pad == pytest.approx(padding, abs=1e-5)
        assert features.lengths.tolist() == [98, 48]
        assert (features.x[1, 48:] == features.pad).all()
        if settings == KaldiFbankConfig():
            assert torch.allclose(features.x[0], torch.tensor(-1.27759), atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "frames"), [(160000, 998), (163840, 1022), (80000, 498), (16000, 98), (64600, 402), (400, 1), (1, 1)]
)
def test_frames(samples: int, frames: int) -> None:
    front = KaldiFbankConfig().build()
    assert front.frames(samples) == frames
    assert front(one(noise(samples))).x.shape == (1, frames, 128)


def test_band_without_any_bin() -> None:
    front = KaldiFbankConfig().build()
    assert not front.filters[:, 3].any()
    assert int(((front.filters > 0).sum(0) == 1).sum()) == 24
    assert (front.frame_rate, front.width, front.rate) == (100.0, 128, 16000)


# Oracles.


def test_kaldi_native_fbank(config: KaldiFbankConfig) -> None:
    for seed, factor in ((0, 1.0), (1, 0.01)):
        wave = noise(config.rate + 77, seed=seed) * factor + 0.02
        x = config.build().raw(one(wave, config.rate)).x[0].numpy()
        np.testing.assert_allclose(x, kaldi_native(wave, config), atol=5e-3)


def test_slow_definition(config: KaldiFbankConfig) -> None:
    wave = noise(config.rate // 10) + 0.05
    expected = slow_fbank(wave, config)
    front = config.build()
    np.testing.assert_allclose(front.raw(one(wave, config.rate, torch.float64)).x[0].numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(front.raw(one(wave, config.rate)).x[0].numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("samples", [1, 2, 150, 399])
def test_shorter_than_a_window(samples: int) -> None:
    wave = noise(samples)
    x = KaldiFbankConfig().build().raw(one(wave, dtype=torch.float64)).x[0].numpy()
    np.testing.assert_allclose(x, slow_fbank(wave, KaldiFbankConfig()), atol=1e-9)


def test_normalised() -> None:
    for divisor in (1.0, 2.0):
        front = KaldiFbankConfig(mean=-3.0, std=4.0, divisor=divisor).build()
        audio = one(noise(8000))
        torch.testing.assert_close(front(audio).x, (front.raw(audio).x + 3.0) / (divisor * 4.0))


def test_json_and_statistics(config: KaldiFbankConfig) -> None:
    assert Config.from_json(config.to_json()) == config
    changed = config.with_statistics(-7.0, 3.0)
    assert (changed.mean, changed.std) == (-7.0, 3.0)
    assert changed.replace(mean=config.mean, std=config.std) == config
    assert config.uses_statistics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0}, "rate is 0; expected a whole number of at least 1"),
        ({"mels": 0}, "0 mel bands"),
        ({"high": 9000.0}, "do not fit audio of 16000 Hz"),
        ({"low": 5000.0, "high": 4000.0}, "do not fit"),
        ({"window": "hamming"}, "expected 'hanning' or 'povey'"),
        ({"hop_seconds": 0.0}, "a hop of at least one"),
        ({"window_seconds": 0.0}, "a window of at least two samples"),
        ({"preemphasis": 1.5}, "preemphasis is 1.5"),
        ({"amplitude": 0.0}, "amplitude is 0.0"),
        ({"std": 0.0}, "std is 0.0; expected a finite number above 0"),
        ({"mean": float("nan")}, "expected finite numbers"),
        ({"mean": float("inf")}, "mean is inf"),
        ({"divisor": -1.0}, "divisor is -1.0; expected a finite number above 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KaldiFbankConfig(**settings).build()
