from __future__ import annotations

import pytest
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.clip_log_mel import LevelLogMelConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.errors import ConfigError


def clips(samples: int = 15360, rows: int = 3) -> torch.Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(0)) * 0.1


def audio(wave: torch.Tensor, lengths: torch.Tensor | None = None) -> Audio:
    return Audio(wave, torch.full((len(wave),), wave.shape[1]) if lengths is None else lengths, 16000)


def test_a_second_is_seen_at_unit_norm() -> None:
    wave = clips()
    unit = wave / wave.norm(dim=1, keepdim=True)
    expected = LogMelConfig(window=400).build()(audio(unit))
    torch.testing.assert_close(LevelLogMelConfig(window=400).build()(audio(wave)).x, expected.x, rtol=1e-4, atol=1e-4)


def test_a_gain_changes_nothing() -> None:
    frontend = LevelLogMelConfig(window=400).build()
    gains = torch.tensor([[1e-3], [1.0], [30.0]])
    torch.testing.assert_close(frontend(audio(clips() * gains)).x, frontend(audio(clips())).x, rtol=1e-4, atol=1e-4)


def test_padding_does_not_count() -> None:
    frontend, wave = LevelLogMelConfig(window=400).build(), clips()
    wave[1, 8000:] = 0
    together = frontend(audio(wave, torch.tensor([15360, 8000, 15360])))
    alone = frontend(audio(wave[1:2, :8000]))
    frames = int(together.lengths[1])
    torch.testing.assert_close(together.x[1, :frames], alone.x[0, :frames])
    # The batched way, which devices and gradients take.
    batched = frontend(audio(wave.clone().requires_grad_(), torch.tensor([15360, 8000, 15360])))
    torch.testing.assert_close(batched.x.detach(), together.x, rtol=1e-3, atol=1e-3)


def test_silence_stays_silent() -> None:
    made = LevelLogMelConfig(window=400).build()(audio(torch.zeros(1, 15360)))
    assert float((made.x + 15.942).abs().max()) < 1e-2


def test_bad_level() -> None:
    with pytest.raises(ConfigError, match="level is 0"):
        LevelLogMelConfig(level=0.0)
    assert LevelLogMelConfig.from_json(LevelLogMelConfig(level=0.5).to_json()) == LevelLogMelConfig(level=0.5)
