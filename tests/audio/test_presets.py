from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.clip_log_mel import ClipNormLogMelConfig, TopDbLogMelConfig
from auricle.audio.frontends.log_mel import LogMel, LogMelConfig
from auricle.audio.frontends.presets import PRESETS, preset
from auricle.config import Config
from auricle.errors import ConfigError


def audio(rate: int = 16000) -> Audio:
    generator = np.random.default_rng(0)
    time = np.arange(rate) / rate
    tone = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.001 * generator.standard_normal(rate)
    noise = 0.1 * generator.standard_normal(rate * 7 // 10)
    return Audio.stack([tone.astype(np.float32), noise.astype(np.float32)], rate)


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_builds_and_travels(name: str) -> None:
    config = preset(name)
    assert Config.from_json(config.to_json()) == config
    features = config.build()(audio(config.rate))
    assert bool(features.x.isfinite().all())


@pytest.mark.parametrize(
    ("name", "rate", "bands"),
    [("kaldi128", 100, 128), ("ntt80", 100, 80), ("dasheng64", 100, 64), ("maskspec128", 100, 128),
     ("music128", 100, 128), ("clap48", 100, 64), ("msclap44", 44100 / 320, 64), ("beats128", 100, 128)],
)  # fmt: skip
def test_rates_and_bands(name: str, rate: float, bands: int) -> None:
    built = preset(name).build()
    assert built.frame_rate == pytest.approx(rate)
    assert built.width == bands


def test_unknown_preset_and_overrides() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ntt80'"):
        preset("ntt08")
    assert preset("ntt80", mels=40).build().width == 40


@pytest.mark.parametrize("over", ["clip", "bins"])
def test_clips_are_standardised_by_themselves(over: str) -> None:
    config = ClipNormLogMelConfig(mels=40, over=over)  # type: ignore[arg-type]
    built, both = config.build(), audio()
    features = built(both)
    for row, clip in enumerate(both.wave):
        alone = built(Audio(clip[None, : both.lengths[row]], both.lengths[row : row + 1], 16000))
        torch.testing.assert_close(features.x[row, : alone.x.shape[1]], alone.x[0], rtol=1e-5, atol=1e-5)
        mean = alone.x[0].mean(0) if over == "bins" else alone.x[0].mean()
        deviation = alone.x[0].std(0, correction=0) if over == "bins" else alone.x[0].std(correction=0)
        assert float(mean.abs().max()) < 1e-4
        assert float((deviation - 1).abs().max()) < 2e-3
    assert float(features.x[1, int(features.lengths[1]) :].abs().max()) == 0.0
    assert config.with_statistics(1.0, 2.0) is config
    raw = LogMelConfig(mels=40).build().raw(both)
    torch.testing.assert_close(built.raw(both).x, raw.x)


def test_a_gain_changes_nothing_after_normalisation_of_clips() -> None:
    built = preset("s3prl80").build()
    both = audio()
    one = Audio(both.wave[1:], both.lengths[1:], 16000)
    half = Audio(one.wave * 0.5, one.lengths, one.rate)
    torch.testing.assert_close(built(one).x, built(half).x, rtol=0, atol=2e-3)


def test_range_is_limited_below_the_loudest_of_each_clip() -> None:
    config = TopDbLogMelConfig(top_db=30.0)
    built, both = config.build(), audio()
    limited, whole = built(both), LogMelConfig().build()(both)
    for row, frames in enumerate(limited.lengths.tolist()):
        found, expected = limited.x[row, :frames], whole.x[row, :frames]
        least = expected.max() - 30.0 * np.log(10) / 10
        torch.testing.assert_close(found, expected.clamp(min=float(least)), rtol=1e-5, atol=1e-5)
    other = built.normalise(built.log_mel(built.power(both)))
    torch.testing.assert_close(other.x, limited.x, rtol=1e-4, atol=1e-4)


def test_decibels_of_atst_lie_where_published() -> None:
    built = preset("atst64").build()
    decibels = LogMel(LogMelConfig(floor=1e-10, floor_mode="clamp")).raw(audio()).x[0] * 10 / np.log(10)
    decibels = decibels.clamp(min=float(decibels.max()) - 80)
    expected = 2 * (decibels + 79.65) / (50.68 + 79.65) - 1
    torch.testing.assert_close(built(audio()).x[0], expected, rtol=1e-4, atol=1e-4)


def test_range_of_each_clip_is_zero_to_one() -> None:
    """Mel energies in decibels, at most 80 below the loudest, minus the least over the range, clip by clip."""
    both = audio()
    built, decibels = (
        preset("bat128").build(),
        LogMel(LogMelConfig(mels=128, low=0.0, high=8000.0, floor=1e-10, floor_mode="clamp")).raw(both),
    )
    for row, frames in enumerate(decibels.lengths.tolist()):
        x = decibels.x[row, :frames] * 10 / np.log(10)
        x = x.clamp(min=float(x.max()) - 80)
        torch.testing.assert_close(built(both).x[row, :frames], (x - x.min()) / (x.max() - x.min()))
        assert not built(both).x[row, frames:].any()
    silence = Audio(torch.zeros(1, 16000), torch.tensor([16000]), 16000)
    assert not built(silence).x.any()
    with pytest.raises(ConfigError, match="each clip has its own range"):
        preset("bat128", mean=0.0, std=1.0)


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="over"):
        ClipNormLogMelConfig(over="frames")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="each clip has its own"):
        ClipNormLogMelConfig(mean=0.0, std=1.0)
    with pytest.raises(ConfigError, match="top_db"):
        TopDbLogMelConfig(top_db=0.0)
