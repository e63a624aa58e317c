from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from auricle.audio.decode import decode
from auricle.corpus.decoded import DecodedCache, Quantised


def test_quantised_clips_keep_their_digits():
    rng = np.random.default_rng(0)
    native = (rng.integers(-32768, 32768, 5000) / 32768).astype(np.float32)
    np.testing.assert_array_equal(Quantised.of(native).restore(), native)
    np.testing.assert_array_equal(Quantised.of(native).restore(10, 20), native[10:20])
    for level in (1e-4, 0.3, 1.0, 5.0):
        wave = (level * rng.standard_normal(5000)).astype(np.float32)
        clip = Quantised.of(wave)
        error = clip.restore() - wave
        assert np.abs(error).max() <= np.abs(wave).max() / 32768 * 1.01
        assert clip.peak == np.abs(wave).max()
    assert not Quantised.of(np.zeros(5, np.float32)).restore().any()


def test_the_cache_stays_within_its_memory():
    cache = DecodedCache(1000)
    for i in range(10):
        cache.put(i, Quantised.of(np.full(150, 0.5, np.float32)))
    assert len(cache) == 3
    assert cache.bytes == 900
    cache.put(10, Quantised.of(np.full(50, 0.5, np.float32)))
    assert cache.bytes == 1000
    assert cache.get(0) is not None
    assert cache.get(5) is None


@given(
    samples=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
    exponent=st.integers(-90, 13),
)
def test_an_error_is_at_most_half_a_step_and_nothing_overflows(samples: list[float], exponent: int):
    wave = np.array(samples, np.float32) * np.float32(2.0**exponent)
    clip = Quantised.of(wave)
    assert clip.samples.dtype == np.int16
    assert clip.restore().dtype == np.float32
    peak = float(np.abs(wave).max())
    assert clip.peak == peak
    if peak > 1e-30:
        step = clip.scale / 32768
        assert np.abs(clip.restore().astype(np.float64) - wave).max() <= step / 2 * (1 + 1e-6)
        # No bit is wasted: at most one factor of two beyond the peak, where rounding would overflow.
        assert peak <= clip.scale <= 4 * peak
        again = Quantised.of(clip.restore())
        np.testing.assert_array_equal(again.restore(), clip.restore())


@pytest.mark.real
def test_recordings_of_sixteen_bits_are_restored_exactly(shared_audio: Path):
    seen = 0
    for path in sorted(shared_audio.glob("*/clips/*.flac"))[::331]:
        info = soundfile.info(path)
        if info.subtype == "PCM_16" and info.channels == 1:
            wave = decode(path, rate=info.samplerate)
            np.testing.assert_array_equal(Quantised.of(wave).restore(), wave)
            seen += 1
    assert seen >= 3
