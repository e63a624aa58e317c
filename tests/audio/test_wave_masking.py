from __future__ import annotations

import pytest
import torch
from audio_clips import RATE, always, ragged, rms, seeded

from auricle.audio.ops.wave_masking import ChopsConfig, HopMaskConfig, WaveTimeMaskConfig


def test_masks_silence_exactly_what_they_certify():
    audio = ragged(16000, 9000)
    made, certified = WaveTimeMaskConfig(fraction=(0.1, 0.2)).build()(audio, seeded())
    for i, n in enumerate((16000, 9000)):
        first, length = (round(float(certified[k][i]) * RATE) for k in ("mask_start", "mask_seconds"))
        expected = audio.wave[i].clone()
        expected[first : first + length] = 0
        assert abs(int((made.wave[i] != expected).sum())) <= 2
        assert 0.09 * n < length < 0.21 * n
    made, certified = always(ChopsConfig()).build()(audio, seeded())
    expected = audio.wave[0].clone()
    for start, seconds in zip(certified["chop_start"][0].tolist(), certified["chop_seconds"][0].tolist(), strict=True):
        expected[round(start * RATE) : round(start * RATE) + round(seconds * RATE)] = 0
    assert torch.equal(made.wave[0], expected)
    assert 1 <= int((certified["chop_seconds"][0] > 0).sum()) <= 5


def test_hop_mask_hides_whole_hops():
    audio = ragged(*[16000 * 4] * 50, 9000)
    made, certified = HopMaskConfig().build()(audio, seeded())
    hidden = certified["hidden"]
    assert hidden.shape == (51, 10)
    assert certified["hop_seconds"].tolist() == pytest.approx([0.4] * 51)
    assert hidden[:50].double().mean().item() == pytest.approx(0.6, abs=0.07)
    assert not hidden[50, 2:].any()
    changed = (made.wave != audio.wave).reshape(51, 10, 6400)
    assert torch.equal(changed[:50].all(2), hidden[:50])
    assert torch.equal(changed.any(2), hidden)
    noise = made.wave.reshape(51, 10, 6400)[:50][hidden[:50]]
    assert rms(noise) == pytest.approx(0.1, rel=0.02)


# Mixing
