from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.audio import Audio, WaveformConfig
from auricle.config import Config
from auricle.errors import ConfigError


def clips() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [(generator.standard_normal(n) * 0.1 + 0.05).astype(np.float32) for n in (900, 400, 1)]


def test_samples_as_they_are() -> None:
    audio = Audio.stack(clips(), 16000)
    front = WaveformConfig().build()
    features = front(audio)
    assert torch.equal(features.x, audio.wave)
    assert features.lengths.tolist() == [900, 400, 1]
    assert (features.rate, features.pad) == (16000.0, 0.0)
    assert (front.rate, front.frame_rate, front.width, front.frames(900)) == (16000, 16000.0, 1, 900)


def test_normalised_clip_by_clip() -> None:
    front = WaveformConfig(normalise="clip").build()
    features = front(Audio.stack(clips(), 16000))
    for row, clip in zip(features.x.numpy(), clips(), strict=True):
        wide = clip.astype(np.float64)
        expected = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-7)
        np.testing.assert_allclose(row[: len(clip)], expected, atol=2e-5)
        assert not row[len(clip) :].any()
    assert torch.equal(front.raw(Audio.stack(clips(), 16000)).x, Audio.stack(clips(), 16000).wave)


def test_padding_and_what_lies_in_it_change_nothing() -> None:
    front = WaveformConfig(normalise="clip").build()
    audio = Audio.stack(clips(), 16000)
    dirty = torch.where(torch.arange(900) < audio.lengths[:, None], audio.wave, 9.0)
    expected = front(audio).x
    assert torch.equal(front(Audio(dirty, audio.lengths, 16000)).x, expected)
    alone = front(Audio.stack(clips()[1:2], 16000)).x[0]
    torch.testing.assert_close(expected[1, :400], alone, atol=1e-5, rtol=0)


def test_silence_stays_silent() -> None:
    features = WaveformConfig(normalise="clip").build()(Audio.stack([np.zeros(100)], 16000))
    assert not features.x.any()


def test_gradient() -> None:
    front = WaveformConfig(normalise="clip").build()
    lengths = torch.tensor([12, 7])
    wave = torch.tensor(np.random.default_rng(0).standard_normal((2, 12)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: front(Audio(w, lengths, 16000)).x, (wave,))


def test_follows_the_device_of_the_audio() -> None:
    features = WaveformConfig(normalise="clip").build()(Audio.stack(clips(), 16000).to("meta"))
    assert features.x.device.type == "meta"


def test_settings() -> None:
    config = WaveformConfig(rate=8000, normalise="clip")
    assert Config.from_json(config.to_json()) == config
    assert config.with_statistics(1.0, 2.0) == config
    assert not config.uses_statistics
    with pytest.raises(ConfigError, match="expected 'none' or 'clip'"):
        WaveformConfig(normalise="peak")
    with pytest.raises(ConfigError, match="audio of 8000 Hz met a front end of 16000 Hz"):
        WaveformConfig().build()(Audio.stack(clips(), 8000))
