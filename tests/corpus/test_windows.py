from __future__ import annotations

import numpy as np
import pytest

from auricle.corpus.table import Corpus
from auricle.corpus.windows import WindowConfig, fill, padding_share, padding_warning
from auricle.errors import ConfigError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp(samples: int) -> np.ndarray:
    return (1 + np.arange(samples, dtype=np.float32)) / samples


def test_short_clips_are_repeated_to_fill_the_window():
    wave, valid = fill(ramp(3), 8, WindowConfig(short="repeat"), rng())
    np.testing.assert_array_equal(wave, [ramp(3)[i % 3] for i in range(8)])
    assert (valid, wave.dtype) == (8, np.float32)


def test_short_clips_are_padded_and_say_so():
    wave, valid = fill(ramp(3), 8, WindowConfig(short="pad"), rng())
    np.testing.assert_array_equal(wave, [*ramp(3), 0, 0, 0, 0, 0])
    assert valid == 3


def test_variable_windows_keep_short_clips():
    wave, valid = fill(ramp(3), 8, WindowConfig(variable=True), rng())
    np.testing.assert_array_equal(wave, ramp(3))
    assert valid == 3
    assert fill(ramp(30), 8, WindowConfig(variable=True), rng())[1] == 8


@pytest.mark.parametrize("samples", [8, 9])
def test_a_clip_of_the_windows_length_is_itself(samples):
    wave, valid = fill(ramp(samples), samples, WindowConfig(), rng())
    np.testing.assert_array_equal(wave, ramp(samples))
    assert valid == samples


def test_random_crops_reach_every_place_evenly():
    clip = ramp(14)
    starts = [round(float(fill(clip, 10, WindowConfig(), rng(i))[0][0]) * 14) - 1 for i in range(2000)]
    assert sorted(set(starts)) == [0, 1, 2, 3, 4]
    # Each of five places expects 400; five standard deviations are 89.
    assert max(abs(starts.count(s) - 400) for s in range(5)) < 90


def test_fixed_crops():
    assert fill(ramp(14), 10, WindowConfig(crop="start"), rng())[0][0] == ramp(14)[0]
    assert fill(ramp(14), 10, WindowConfig(crop="centre"), rng())[0][0] == ramp(14)[2]


def test_a_crop_follows_from_its_generator():
    clip = rng(5).standard_normal(1000).astype(np.float32)
    for crop in ("random", "energy"):
        window = WindowConfig(crop=crop)
        np.testing.assert_array_equal(fill(clip, 100, window, rng(3))[0], fill(clip, 100, window, rng(3))[0])


def test_energy_crops_prefer_the_loud_part_in_proportion():
    clip = np.full(4000, 0.1, dtype=np.float32)
    clip[2000:] = 0.3
    window = WindowConfig(crop="energy", candidates=64)
    loud = np.mean([np.square(fill(clip, 1, window, rng(i))[0]).mean() > 0.05 for i in range(1500)])
    # Energies 0.09 and 0.01 on equal halves.
    assert loud == pytest.approx(0.9, abs=0.03)


def test_energy_crops_of_silence_are_defined():
    assert fill(np.zeros(100, np.float32), 10, WindowConfig(crop="energy"), rng())[1] == 10


def test_random_crops_avoid_silence():
    clip = np.zeros(10_000, dtype=np.float32)
    # A constant is silence, too.
    clip[2000:5000] = 0.05
    clip[5000:] = 0.1 * (-1.0) ** np.arange(5000)
    silent = {tries: 0 for tries in (1, 6)}
    for tries in silent:
        window = WindowConfig(tries=tries)
        silent[tries] = sum(np.ptp(fill(clip, 100, window, rng(i))[0]) < 0.1 for i in range(500))
    assert 200 < silent[1] < 300
    assert silent[6] < 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 0.0}, "window.seconds is 0.0"),
        ({"short": "loop"}, "window.short is 'loop'; expected 'repeat' or 'pad'"),
        ({"crop": "end"}, "window.crop is 'end'"),
        ({"tries": 0}, "window.tries is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        WindowConfig(**settings)


def test_settings_travel_as_json():
    window = WindowConfig(seconds=2.0, crop="energy")
    assert WindowConfig.from_json(window.to_json()) == window


def test_padding_share_and_its_warning():
    corpus = Corpus.from_columns({"file": list("abcd"), "seconds": [0.5, 0.5, 1.0, 20.0]}, root=".", name="short ones")
    # Windows of 5 s: 0.5, 0.5, 1 and 5 s of sound in 20 s.
    assert padding_share(corpus, WindowConfig(seconds=5, short="pad")) == pytest.approx(0.65)
    assert padding_share(corpus, WindowConfig(seconds=5, short="repeat")) == 0.0
    assert padding_share(corpus, WindowConfig(seconds=5, variable=True)) == pytest.approx(0.65)
    warning = padding_warning(corpus, WindowConfig(seconds=5, short="pad"))
    assert warning is not None
    assert "65% of the encoder's input from short ones would be padding" in warning
    assert "set window.short to repeat" in warning
    assert padding_warning(corpus, WindowConfig(seconds=5)) is None
    assert padding_warning(corpus, WindowConfig(seconds=1, short="pad")) is None
