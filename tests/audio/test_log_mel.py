from __future__ import annotations

import numpy as np
import pytest
import torch
from audio_clips import noise, one

from auricle.audio import Audio, LogMelConfig
from auricle.audio.frontends.mel import hz_to_mel, mel_filters, mel_to_hz
from auricle.config import Config
from auricle.errors import ConfigError

EPSILON = float(np.finfo(np.float32).eps)

SETTINGS = {
    "byol-a": LogMelConfig(),
    "byol-a v2": LogMelConfig(scale="slaney", area_norm=True, mean=-8.0, std=4.0),
    "no centre": LogMelConfig(centre=False, hop=320, mels=80, high=None),
    "short window": LogMelConfig(n_fft=512, window=400, low=0.0, floor=1e-10, floor_mode="clamp", divisor=2.0),
    "odd window": LogMelConfig(n_fft=600, window=333, scale="slaney", mean=-1.0, std=2.0, divisor=2.0),
    "high rate": LogMelConfig(rate=32000, hop=320, low=50.0, high=14000.0),
}


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def config(request: pytest.FixtureRequest) -> LogMelConfig:
    return request.param


def at_once(audio: Audio) -> Audio:
    return Audio(audio.wave.clone().requires_grad_(), audio.lengths, audio.rate)


def slow_mel(hz: float, scale: str) -> float:
    if scale == "htk":
        return 2595 * np.log10(1 + hz / 700)
    return 3 * hz / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def slow_corners(config: LogMelConfig) -> np.ndarray:
    """Corners in Hz by inverting the scale on a fine grid."""
    high = config.rate / 2 if config.high is None else config.high
    wanted = np.linspace(slow_mel(config.low, config.scale), slow_mel(high, config.scale), config.mels + 2)
    grid = np.linspace(0, config.rate / 2, 2_000_001)
    below = 15 * grid / 1000
    mels = 2595 * np.log10(1 + grid / 700)
    if config.scale == "slaney":
        mels = np.where(grid < 1000, below, 15 + 27 * np.log(np.maximum(grid, 1000) / 1000) / np.log(6.4))
    return np.interp(wanted, mels, grid)


def slow_log_mel(wave: np.ndarray, config: LogMelConfig) -> np.ndarray:
    """The definition in float64, a frame and a band at a time."""
    wave = np.concatenate([wave, np.zeros(max(0, config.n_fft - len(wave)))])
    if config.centre:
        wave = np.pad(wave, config.n_fft // 2, mode="reflect")
    window = np.zeros(config.n_fft)
    first = (config.n_fft - config.window) // 2
    for i in range(config.window):
        window[first + i] = np.sin(np.pi * i / config.window) ** 2
    corners = slow_corners(config)
    rows = []
    for start in range(0, len(wave) - config.n_fft + 1, config.hop):
        power = np.abs(np.fft.fft(wave[start : start + config.n_fft] * window)) ** 2
        row = []
        for left, centre, right in zip(corners, corners[1:], corners[2:], strict=False):
            energy = 0.0
            for k in range(config.n_fft // 2 + 1):
                hz = k * config.rate / config.n_fft
                if left < hz < right:
                    weight = (hz - left) / (centre - left) if hz < centre else (right - hz) / (right - centre)
                    energy += power[k] * weight * (2 / (right - left) if config.area_norm else 1)
            row.append(np.log(energy + config.floor if config.floor_mode == "add" else max(energy, config.floor)))
        rows.append(row)
    return np.array(rows)


def test_slow_definition(config: LogMelConfig) -> None:
    for samples in (config.n_fft + 1000, config.n_fft // 3, 1):
        wave = noise(samples)
        expected = slow_log_mel(wave, config)
        front = config.build()
        assert front.frames(samples) == len(expected)
        double = front.raw(one(wave, config.rate, torch.float64))
        np.testing.assert_allclose(double.x[0].numpy(), expected, atol=2e-5)
        np.testing.assert_allclose(front.raw(one(wave, config.rate)).x[0].numpy(), expected, atol=2e-3)
        normalised = front(one(wave, config.rate))
        if config.mean is not None and config.std is not None:
            expected = (expected - config.mean) / (config.divisor * config.std)
            assert normalised.pad == pytest.approx(-config.mean / (config.divisor * config.std))
        np.testing.assert_allclose(normalised.x[0].numpy(), expected, atol=2e-3)


def test_published_statistics_of_white_noise() -> None:
    # The published figures are of one draw: over draws of one second they vary by 0.013.
    wave = noise(160000)
    for settings, mean, std in (
        (LogMelConfig(), 3.034, 0.902),
        (LogMelConfig(scale="slaney", area_norm=True), -1.518, 0.521),
    ):
        x = settings.build().raw(one(wave)).x
        assert x.shape == (1, 1001, 64)
        assert float(x.mean()) == pytest.approx(mean, abs=0.02)
        assert float(x.std()) == pytest.approx(std, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "total", "first"),
    [
        (LogMelConfig(scale="slaney", area_norm=True), -9327.2871, (-2.0843582, -2.0695717, -1.5629499)),
        (LogMelConfig(), 18637.9707, (0.2404489, 1.3062199, 2.3169711)),
    ],
)
def test_golden_values(settings: LogMelConfig, total: float, first: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    x = settings.build().raw(one((0.1 * torch.randn(15200)).numpy())).x[0].double()
    assert float(x.sum()) == pytest.approx(total, abs=5e-3)
    assert x[:3, 0].tolist() == pytest.approx(first, abs=2e-6)


def test_silence() -> None:
    for settings in (LogMelConfig(), LogMelConfig(floor_mode="clamp")):
        x = settings.build().raw(one(np.zeros(15200))).x
        assert x.shape == (1, 96, 64)
        np.testing.assert_allclose(x.numpy(), -15.942385, atol=1e-5)


def test_padding_is_exact(config: LogMelConfig) -> None:
    front = config.build()
    lengths = (config.rate * 2, config.rate, 2000, 700, 9)
    clips = [noise(n, seed=n) for n in lengths]
    audio = Audio.stack(clips, config.rate)
    together = front(audio)
    gradients = front(at_once(audio))
    assert together.x.shape[1] == front.frames(lengths[0])
    for i, (count, clip) in enumerate(zip(together.lengths.tolist(), clips, strict=True)):
        alone = front(Audio.stack([clip], config.rate))
        assert alone.x.shape[1] == count == front.frames(len(clip))
        assert torch.equal(together.x[i, :count], alone.x[0])
        torch.testing.assert_close(gradients.x[i, :count], alone.x[0], atol=2e-3, rtol=0)
        for features in (together, gradients):
            assert (features.x[i, count:] == features.pad).all()


def test_gradient() -> None:
    for settings in (
        LogMelConfig(rate=1000, mels=4, n_fft=16, window=16, hop=5, low=10.0, high=480.0),
        LogMelConfig(
            rate=1000, mels=4, n_fft=16, window=12, hop=5, low=10.0, high=480.0, floor_mode="clamp", mean=-2.0, std=3.0
        ),
    ):
        front = settings.build()
        lengths = torch.tensor([40, 23, 7])
        wave = torch.tensor(noise(3, 40)) * (torch.arange(40) < lengths[:, None])

        def features(
            wave: torch.Tensor, front: torch.nn.Module = front, lengths: torch.Tensor = lengths
        ) -> torch.Tensor:
            return front(Audio(wave, lengths, 1000)).x

        assert torch.autograd.gradcheck(features, (wave.requires_grad_(),))


def test_follows_the_device_of_the_audio(config: LogMelConfig) -> None:
    audio = Audio.stack([noise(9000), noise(5000)], config.rate)
    features = config.build()(audio.to("meta"))
    assert features.x.shape == config.build()(audio).x.shape
    assert features.x.device.type == "meta"


def test_json_and_statistics(config: LogMelConfig) -> None:
    assert Config.from_json(config.to_json()) == config
    changed = config.with_statistics(-7.0, 3.0)
    assert (changed.mean, changed.std) == (-7.0, 3.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 2048}, "expected window <= n_fft"),
        ({"hop": 0}, "hop is 0; expected a whole number of at least 1"),
        ({"scale": "bark"}, "expected 'htk' or 'slaney'"),
        ({"floor_mode": "max"}, "expected 'add' or 'clamp'"),
        ({"floor": 0.0}, "floor is 0.0"),
        ({"mean": 1.0}, "set both, or neither"),
        ({"mean": 1.0, "std": 0.0}, "std is 0.0; expected a finite number above 0"),
        ({"high": 8001.0}, "do not fit audio of 16000 Hz"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LogMelConfig(**settings).build()


# Mel scales.


@pytest.mark.parametrize("scale", ["htk", "slaney", "kaldi"])
def test_mel_scale_and_its_inverse(scale: str) -> None:
    hz = np.array([0.0, 60.0, 700.0, 999.9, 1000.0, 1000.1, 6400.0, 20000.0])
    mels = hz_to_mel(hz, scale)
    assert (np.diff(mels) > 0).all()
    np.testing.assert_allclose(mel_to_hz(mels, scale), hz, atol=1e-8)


def test_known_mels() -> None:
    # HTK: 1000 Hz is 1000 mel. Slaney: 1000 Hz is 15 mel, 6400 Hz is 42. Kaldi: 1127 ln 2 at 700 Hz.
    assert hz_to_mel(np.array(1000.0), "htk") == pytest.approx(999.9856, abs=1e-3)
    assert hz_to_mel(np.array([1000.0, 6400.0]), "slaney").tolist() == pytest.approx([15.0, 42.0])
    assert hz_to_mel(np.array(700.0), "kaldi") == pytest.approx(1127 * np.log(2))


def test_area_of_filters() -> None:
    filters = mel_filters(bands=40, n_fft=8192, rate=16000, low=0.0, high=8000.0, scale="slaney", area_norm=True)
    assert filters.shape == (4097, 40)
    np.testing.assert_allclose(filters.sum(0) * 16000 / 8192, 1.0, rtol=0.01)
    plain = mel_filters(bands=40, n_fft=8192, rate=16000, low=0.0, high=8000.0, scale="htk")
    assert 0.9 < plain.max(0).min() <= plain.max() <= 1.0
