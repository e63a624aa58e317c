from __future__ import annotations

import numpy as np

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
