"""The Python gate: every way to hold samples is read right or refused with a remedy that works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from auricle.audio.arrays import mono_clips, resampled
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import AudioError, ConfigError

WAVE = (0.4 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)).astype(np.float32)


@pytest.mark.parametrize(
    ("held", "error"),
    [
        (np.round(WAVE * 2**15).astype(np.int16), 2**-15),
        (np.round(WAVE * 2.0**31).astype(np.int32), 2**-15),
        (np.round(WAVE * 2**7).astype(np.int8), 2**-7),
        (np.round(WAVE * 2**7 + 128).astype(np.uint8), 2**-7),
        (WAVE.astype(np.float64), 1e-6),
        (WAVE.astype(np.float16), 1e-3),
        (torch.from_numpy(WAVE).bfloat16(), 1e-2),
        (torch.from_numpy(WAVE).requires_grad_(), 0),
        (WAVE.tolist(), 0),
        (WAVE[None], 0),
        ([WAVE], 0),
        ([WAVE[None]], 0),
        (np.array([WAVE, WAVE[:100]], dtype=object), 0),
        (np.stack([WAVE * 1.5, WAVE * 0.5])[None], 1e-6),
        ([np.stack([WAVE * 1.5, WAVE * 0.5])], 1e-6),
        (WAVE[::-1][::-1], 0),
    ],
)
def test_all_these_are_the_same_sound(held: Any, error: float) -> None:
    clip = mono_clips(held)[0]
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip, WAVE, atol=error + 1e-7)


def test_clips_of_any_lengths_come_back_in_order() -> None:
    assert [len(clip) for clip in mono_clips([WAVE, WAVE[:10], WAVE[:500]])] == [8000, 10, 500]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (np.round(WAVE * 2**15).astype(np.int64), r"holds int64, whose full scale is not known.*astype\(np.int16\)"),
        (np.round(WAVE * 2**15 + 2**15).astype(np.uint16), "holds uint16, whose full scale"),
        (np.round(WAVE * 2**15).astype(np.int32), r"int32 up to 13107, which is silence.*astype\(np.int16\)"),
        (np.round(WAVE * 2**15), r"whole numbers up to 13107 as float32.*wave / 32768"),
        (WAVE.astype(complex), "holds complex128"),
        (WAVE > 0, "holds bool"),
        (np.stack([WAVE, WAVE], 1), r"\(8000, 2\), which looks like \(samples, channels\)"),
        ([np.stack([WAVE, WAVE], 1)], r"\(8000, 2\), which looks like \(samples, channels\)"),
        (np.stack([WAVE, WAVE], 1)[None], r"\(8000, 2\), which looks like \(samples, channels\)"),
        (WAVE * 1e30, "samples up to 4e.29, expected"),
        (WAVE.astype(np.float64) * 1e300, "samples up to 4e.299, expected"),
        (np.array([0.0, np.inf]), "not finite"),
        (np.float32(0.5), r"shape \(\)"),
        (None, r"shape \(\)"),
        ("clip.wav", "found the path 'clip.wav'"),
        (Path("clip.wav"), "found the path 'clip.wav'"),
        (["a.wav", "b.wav"], "found the path 'a.wav'"),
        ({"array": WAVE, "sampling_rate": 16000}, r"dict of 'array', 'sampling_rate'.*wave\['array'\]"),
        ([[0.1, 0.2], [[0.1], [0.2, 0.3]]], "clip 1 is no array of samples"),
        ([], "no clips"),
        ([WAVE, WAVE[:0]], "clip 1 has shape"),
        (np.zeros((1, 1, 1, 5)), "shape"),
    ],
)
def test_everything_else_is_refused_with_its_remedy(held: Any, said: str) -> None:
    with pytest.raises(AudioError, match=said):
        mono_clips(held)


def test_the_remedies_work(tmp_path: Path) -> None:
    wide = np.round(WAVE * 2**15)
    np.testing.assert_allclose(mono_clips(wide.astype(np.int64).astype(np.int16))[0], WAVE, atol=2**-15)
    np.testing.assert_allclose(mono_clips(wide / 32768)[0], WAVE, atol=2**-15)
    np.testing.assert_allclose(mono_clips(np.stack([WAVE, WAVE], 1).mean(1))[0], WAVE, atol=1e-6)
    path = tmp_path / "clip.wav"
    soundfile.write(path, WAVE, 16000)
    wave, rate = soundfile.read(path)
    np.testing.assert_allclose(mono_clips(wave)[0], WAVE, atol=2**-14)
    assert rate == 16000


@pytest.mark.parametrize("rate", [0, -16000, 1, 3_000_000_000, float("nan"), None, "16000", True])
def test_rates_that_nobody_records_at_are_refused(rate: Any) -> None:
    with pytest.raises(AudioError, match="expected 100 to 1000000"):
        resampled(WAVE, rate, 16000)


def test_clips_too_short_for_a_token_and_vectors_that_are_not_finite_are_refused() -> None:
    frontend = WaveformConfig().build()
    settings = WaveformTransformerConfig(width=16, depth=1, heads=2)
    frozen = FrozenEncoder(frontend, settings.build(torch.Generator().manual_seed(0)), name="waves")
    least = frozen.encoder.least_frames
    assert least > 1
    assert frozen.embed(WAVE[:least], 16000).shape == (16,)
    with pytest.raises(AudioError, match=f"clip 1: shorter than the encoder needs: {least - 1} samples of {least}"):
        frozen.embed([WAVE, WAVE[: least - 1]], 16000)
    with pytest.raises(ConfigError, match="batches of 0 clips"):
        frozen.embed(WAVE, 16000, batch=0)
    with torch.no_grad():
        next(frozen.encoder.parameters()).fill_(float("nan"))
    with pytest.raises(AudioError, match="vector of clip 0 is not finite"):
        frozen.embed(WAVE, 16000)
