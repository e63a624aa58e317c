from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from audio_clips import noise, one

from auricle.audio import Audio, Features, KaldiFbankConfig, Spectrum
from auricle.errors import ConfigError

EPSILON = float(np.finfo(np.float32).eps)


def ragged(*lengths: int, seed: int = 0) -> Audio:
    return Audio.stack([noise(n, seed=seed + i) for i, n in enumerate(lengths)], 16000)


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


# The two ways through: a clip at a time, and the batch at once (with gradients, or on another device).


def batch_at_once(audio: Audio) -> Audio:
    return Audio(audio.wave.clone().requires_grad_(), audio.lengths, audio.rate)


def test_padding_is_exact(config: KaldiFbankConfig) -> None:
    front = config.build()
    lengths = (config.rate * 3, config.rate, 5000, 123)
    clips = [noise(n, seed=n) + 0.03 for n in lengths]
    together = front(Audio.stack(clips, config.rate))
    for row, count, clip in zip(together.x, together.lengths.tolist(), clips, strict=True):
        alone = front(Audio.stack([clip], config.rate))
        assert torch.equal(row[:count], alone.x[0])
        assert (row[count:] == together.pad).all()


def test_what_lies_beyond_a_clip_is_ignored() -> None:
    front = KaldiFbankConfig().build()
    audio = ragged(16000, 9000, 100)
    dirty = Audio(audio.wave.clone(), audio.lengths, 16000)
    for row, n in zip(dirty.wave, dirty.lengths.tolist(), strict=True):
        row[n:] = 0.7
    assert torch.equal(front(dirty).x, front(audio).x)
    torch.testing.assert_close(front(batch_at_once(dirty)).x, front(batch_at_once(audio)).x)


def test_both_ways_agree(config: KaldiFbankConfig) -> None:
    front = config.build()
    audio = Audio.stack([noise(n, seed=n) + 0.03 for n in (48000, 16000, 700, 40)], config.rate)
    by_clip, at_once = front(audio), front(batch_at_once(audio))
    assert at_once.x.requires_grad
    assert at_once.lengths.tolist() == by_clip.lengths.tolist()
    assert at_once.pad == by_clip.pad
    torch.testing.assert_close(at_once.x, by_clip.x, atol=2e-3, rtol=0)
    power, expected = front.power(batch_at_once(audio)).power, front.power(audio).power
    torch.testing.assert_close(power, expected, atol=1e-6 * float(expected.max()), rtol=1e-4)


@pytest.mark.parametrize("grad", [False, True])
def test_forward_is_its_steps(grad: bool) -> None:
    front = KaldiFbankConfig().build()
    audio = ragged(60000, 30000, 11)
    audio = batch_at_once(audio) if grad else audio
    spectrum = front.power(audio)
    assert isinstance(spectrum, Spectrum)
    assert spectrum.power.shape == (3, front.frames(60000), 257)
    assert (spectrum.rate, spectrum.sample_rate, spectrum.n_fft) == (100.0, 16000, 512)
    assert not spectrum.power[2, 1:].any()
    raw = front.log_mel(spectrum)
    assert raw.pad == 0
    assert not raw.x[2, 1:].any()
    features = front.normalise(raw)
    whole = front(audio)
    torch.testing.assert_close(whole.x, features.x, atol=1e-6, rtol=0)
    torch.testing.assert_close(front.raw(audio).x, raw.x)
    assert whole.pad == pytest.approx(features.pad)
    assert whole.lengths.tolist() == features.lengths.tolist() == spectrum.lengths.tolist()
    assert torch.equal(spectrum[1:].power, spectrum.power[1:])
    assert len(spectrum[1:]) == 2


def test_gradient() -> None:
    front = KaldiFbankConfig(rate=1000, mels=6, window_seconds=0.02, hop_seconds=0.01, low=20.0).build()
    lengths = torch.tensor([50, 33, 9])
    valid = torch.arange(50) < lengths[:, None]
    wave = (torch.tensor(noise(3, 50)) * valid).requires_grad_()

    def features(wave: torch.Tensor) -> torch.Tensor:
        return front(Audio(wave, lengths, 1000)).x

    assert torch.autograd.gradcheck(features, (wave,))
    (gradient,) = torch.autograd.grad(features(wave).sum(), wave)
    assert not gradient[~valid].any()


def test_gradient_in_float32_is_finite_on_silence() -> None:
    wave = torch.zeros(1, 4000, requires_grad=True)
    KaldiFbankConfig().build()(Audio(wave, torch.tensor([4000]), 16000)).x.sum().backward()
    assert wave.grad is not None
    assert torch.isfinite(wave.grad).all()


def test_follows_the_device_of_the_audio() -> None:
    # The meta device refuses any mixing with tensors of another device, so it shows a hard-coded one.
    front = KaldiFbankConfig().build()
    features = front(ragged(16000, 8000).to("meta"))
    assert features.x.shape == (2, 98, 128)
    assert features.x.device.type == features.lengths.device.type == "meta"


def test_precision() -> None:
    front = KaldiFbankConfig().build().to(torch.bfloat16)
    audio = ragged(8000)
    expected = front(audio).x
    assert expected.dtype == torch.float32
    assert front(Audio(audio.wave.double(), audio.lengths, 16000)).x.dtype == torch.float64
    assert front(Audio(audio.wave.half(), audio.lengths, 16000)).x.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(front(audio).x, expected)
        torch.testing.assert_close(front(batch_at_once(audio)).x, expected, atol=2e-3, rtol=0)


def test_gradients_after_inference_mode() -> None:
    front = KaldiFbankConfig().build()
    with torch.inference_mode():
        expected = front(ragged(8000)).x
        front(ragged(8000).to("meta"))
    at_once = front(batch_at_once(ragged(8000))).x
    at_once.sum().backward()
    torch.testing.assert_close(at_once, expected.clone(), atol=2e-3, rtol=0)


def test_copies() -> None:
    front = KaldiFbankConfig().build()
    audio = ragged(8000)
    expected = front(audio).x
    assert torch.equal(copy.deepcopy(front)(audio).x, expected)
    assert torch.equal(pickle.loads(pickle.dumps(front))(audio).x, expected)  # noqa: S301 (loader workers do this)
    assert not front.state_dict()


def test_expected_power_of_white_noise() -> None:
    front = KaldiFbankConfig(remove_clip_mean=False).build()
    wave = torch.randn(1, 16000 * 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measured = front.power(Audio(wave, torch.tensor([wave.shape[1]]), 16000)).power[0].mean(0).numpy()
    expected = front.white_noise_power()
    assert expected.shape == (257,)
    np.testing.assert_allclose(measured[2:] / expected[2:], 1.0, atol=0.12)
    assert measured[2:].sum() / expected[2:].sum() == pytest.approx(1.0, abs=0.01)


def test_empty_batch() -> None:
    features = KaldiFbankConfig().build()(Audio(torch.zeros(0, 16000), torch.zeros(0, dtype=torch.int64), 16000))
    assert isinstance(features, Features)
    assert features.x.shape == (0, 98, 128)


# Settings.


@pytest.mark.parametrize("step", ["forward", "raw", "power"])
def test_wrong_rate(step: str) -> None:
    with pytest.raises(ConfigError, match="audio of 22050 Hz met a front end of 16000 Hz; decode with rate=16000"):
        getattr(KaldiFbankConfig().build(), step)(one(noise(1000), 22050))


def test_spectrum_of_another_front_end() -> None:
    spectrum = KaldiFbankConfig().build().power(ragged(8000))
    with pytest.raises(ConfigError, match="met a front end of 16000 Hz and n_fft 1024"):
        KaldiFbankConfig(window_seconds=0.05).build().log_mel(spectrum)
