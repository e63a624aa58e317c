"""Channels that cancel each other in their mean, as Python callers hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from auricle.audio.arrays import mono_clips
from auricle.audio.recording import LOUDEST
from auricle.errors import AudioError

WAVE = (0.1 * np.random.default_rng(0).standard_normal(1000)).astype(np.float32)
PAIR = np.stack([WAVE, -WAVE])


@pytest.mark.parametrize(
    "held", [PAIR[None], [PAIR], np.concatenate([PAIR, PAIR])[None], (PAIR * 2**14).astype("i2")[None]]
)
def test_channels_that_cancel_are_no_silence(held: Any) -> None:
    said = r"the \d channels of clip 0 cancel each other: .* pass one of them: wave\[..., 0, :\]"
    with pytest.raises(AudioError, match=said):
        mono_clips(held)
    wave = np.asarray(held)
    assert mono_clips(wave[..., 0, :])[0].any()


def test_other_channels_are_averaged() -> None:
    for second in (0 * WAVE, WAVE, np.roll(WAVE, 1)):
        np.testing.assert_allclose(mono_clips(np.stack([WAVE, second])[None])[0], (WAVE + second) / 2, atol=1e-7)
    assert not mono_clips(np.zeros((1, 2, 10)))[0].any()


def test_samples_are_as_loud_as_those_of_a_file_may_be() -> None:
    assert mono_clips(WAVE / np.abs(WAVE).max() * 0.9 * LOUDEST)[0].max() > 1000
    with pytest.raises(AudioError, match="holds samples up to"):
        mono_clips(WAVE / np.abs(WAVE).max() * 1.1 * LOUDEST)
