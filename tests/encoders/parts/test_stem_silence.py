"""Digital silence in the middle of a clip must not blow the gradient up, as norms without variance do."""

from __future__ import annotations

import pytest
import torch

from auricle.encoders.parts.waveform_stem import CPC, WAV2VEC2_LAYER, WaveformStem, WaveformStemConfig


@pytest.mark.parametrize("config", [WAV2VEC2_LAYER.narrow(32), CPC.narrow(32)])
def test_gradients_stay_finite_and_small_on_silence(config: WaveformStemConfig) -> None:
    stem = WaveformStem(config, torch.Generator().manual_seed(0))
    wave = torch.randn(2, 16000, generator=torch.Generator().manual_seed(1)) * 0.1
    loud = stem(wave).square().mean()
    usual = max(float(g.abs().max()) for g in torch.autograd.grad(loud, list(stem.parameters())))
    wave[0, 4000:12000] = 0.0
    wave[1] = 0.0
    loss = stem(wave).square().mean()
    found = max(float(g.abs().max()) for g in torch.autograd.grad(loss, list(stem.parameters())))
    assert found < 1e3 * usual
