"""The synthesised sources and effects obey the physics they claim."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.signal import fftconvolve, lfilter

from auricle.corpus.synthetic import effects
from auricle.corpus.synthetic.render import SOURCES, Source
from auricle.corpus.synthetic.sources_struck import plucked_string, string_loop
from auricle.corpus.synthetic.voice import (
    Note,
    damped_modes,
    phase_of,
    place_grains,
    play_table,
    resonate,
    sine,
    wavetable,
)

RATE = 16000
every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def note(source: Source, voice: int, event: int, rate: int = RATE, seconds: float | None = None) -> Note:
    draw = np.random.default_rng([7, event])
    pitch = float(np.exp(draw.uniform(*np.log(source.pitch))))
    length = seconds or float(np.exp(draw.uniform(*np.log(source.seconds))))
    return Note(np.random.default_rng([1, voice]), draw, min(pitch, 0.4 * rate), int(length * rate), rate)


def spectral_peak(wave: np.ndarray, low: float, high: float, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(wave.size), 1 << 18))
    hertz = np.fft.rfftfreq(1 << 18, 1 / rate)
    band = (hertz >= low) & (hertz <= high)
    return float(hertz[band][np.argmax(spectrum[band])])


def test_at_least_twelve_classes_with_distinct_names() -> None:
    assert len(SOURCES) == len({source.name for source in SOURCES}) == 16
    assert [source.name for source in SOURCES] == sorted(source.name for source in SOURCES)


@every_source
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_renders_audible_finite_float32_of_the_length_asked_for(source: Source, rate: int) -> None:
    for voice in range(4):
        asked = note(source, voice, voice, rate)
        wave = source.render(asked)
        assert wave.shape == (asked.samples,)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()
        start, stop = effects.audible_span(wave, rate)
        assert stop - start > 0.02 * rate


@every_source
def test_the_same_draws_make_the_same_wave_and_other_voices_and_events_other_ones(source: Source) -> None:
    first = source.render(note(source, 3, 5))
    np.testing.assert_array_equal(first, source.render(note(source, 3, 5)))
    other_voice, other_event = source.render(note(source, 4, 5)), source.render(note(source, 3, 6))
    assert not np.allclose(first, other_voice)
    assert first.size != other_event.size or not np.allclose(first, other_event)


@pytest.mark.parametrize("pitch", [82.41, 110.0, 196.0, 440.0])
def test_a_plucked_string_sounds_at_its_pitch(pitch: float) -> None:
    # Drawn until the note is plucked once and is no chord, whose partials would be others.
    for seed in range(20):
        asked = Note(np.random.default_rng(seed), np.random.default_rng([seed, 1]), pitch, RATE, RATE)
        probe = np.random.default_rng([seed, 1])
        plucks = int(probe.choice([1, 1, 1, 2, 3, 5]))
        probe.uniform(0, 1, plucks)
        if plucks == 1 and probe.random() >= 0.25:
            wave = plucked_string(asked)
            assert spectral_peak(wave, 0.8 * pitch, 1.2 * pitch) == pytest.approx(pitch, rel=0.01)


@pytest.mark.parametrize("period", [1, 2, 7, 100, 399, 500])
def test_string_loop_equals_the_recursive_filter(period: int) -> None:
    draw = np.random.default_rng(0)
    wave = draw.standard_normal(400).astype(np.float32)
    taps = np.array([0.3, 0.4, 0.2], np.float32)
    feedback = np.concatenate([[1.0], np.zeros(period - 1), -taps.astype(np.float64)])
    np.testing.assert_allclose(string_loop(wave, taps, period), lfilter([1.0], feedback, wave), atol=2e-5)


def test_damped_modes_equal_the_formula_in_float64() -> None:
    hertz, levels = np.array([220.0, 1234.5, 9000.0]), np.array([1.0, 0.5, 3.0])
    decays, phases = np.array([0.3, 0.01, 1.0]), np.array([0.1, 0.6, 0.0])
    time = np.arange(8000) / RATE
    wanted = sum(
        a * np.exp(-time / d) * np.sin(2 * np.pi * (f * time + p))
        for f, a, d, p in zip(hertz[:2], levels[:2], decays[:2], phases[:2], strict=True)
    )  # 9 kHz lies above Nyquist: left out
    np.testing.assert_allclose(damped_modes(8000, RATE, hertz, levels, decays, phases), wanted, atol=2e-3)


def test_wavetable_holds_the_harmonics_asked_for() -> None:
    amplitudes = np.array([1.0, 0.0, 0.25])
    table = wavetable(amplitudes, np.zeros(3))
    tone = play_table(table, phase_of(np.full(RATE, 100.0), RATE))
    spectrum = np.abs(np.fft.rfft(tone)) / (RATE / 2)
    assert spectrum[[100, 200, 300]] == pytest.approx(amplitudes, abs=5e-3)


def test_phase_and_sine_make_a_chirp_without_drift() -> None:
    frequency = np.full(60 * RATE, 997.0, np.float32)
    wave = sine(phase_of(frequency, RATE))[-RATE:]
    assert spectral_peak(wave, 500, 2000) == pytest.approx(997.0, abs=0.05)


def test_resonance_has_unit_gain_at_its_centre_and_half_power_at_its_edges() -> None:
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1
    response = np.abs(np.fft.rfft(resonate(impulse, 1000.0, 100.0, RATE)))
    assert response[1000] == pytest.approx(1.0, rel=0.01)
    assert response[[950, 1050]] ** 2 == pytest.approx([0.5, 0.5], rel=0.12)


def test_grains_land_where_they_are_placed_and_are_cut_at_the_end() -> None:
    out = place_grains(10, np.array([2, 8, 11, -3]), [np.ones(3, np.float32)] * 4)
    np.testing.assert_array_equal(out, [0, 0, 1, 1, 1, 0, 0, 0, 1, 1])


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 2.0])
def test_noise_has_its_colour_and_unit_level(exponent: float) -> None:
    noise = effects.coloured_noise(np.random.default_rng(0), 1 << 17, exponent)
    assert noise.dtype == np.float32
    assert effects.root_mean_square(noise) == pytest.approx(1.0, rel=1e-4)
    power = np.abs(np.fft.rfft(noise.astype(np.float64))) ** 2
    edges = np.geomspace(200, 60000, 9).astype(int)
    levels = [np.log(power[a:b].mean()) for a, b in itertools.pairwise(edges)]
    centres = [np.log((a + b) / 2) for a, b in itertools.pairwise(edges)]
    assert np.polyfit(centres, levels, 1)[0] == pytest.approx(-exponent, abs=0.1)


def test_room_decays_by_sixty_decibels_in_its_time() -> None:
    response = effects.room_response(np.random.default_rng(0), 0.8, 1.0, RATE)
    assert response[0] == 1.0
    assert np.sum(np.square(response[1:])) == pytest.approx(1.0, rel=1e-3)
    # Schroeder's backward integral between -10 and -40 dB, extrapolated to 60.
    remaining = np.cumsum(np.square(response[1:].astype(np.float64))[::-1])[::-1]
    curve = 10 * np.log10(remaining / remaining[0])
    start, stop = np.argmax(curve < -10), np.argmax(curve < -40)
    assert 2 * (stop - start) / RATE == pytest.approx(0.8, rel=0.15)
    assert effects.room_response(np.random.default_rng(0), 0.0, 1.0, RATE).tolist() == [1.0]


def test_convolution_equals_scipy() -> None:
    draw = np.random.default_rng(0)
    wave, response = draw.standard_normal(1000).astype(np.float32), draw.standard_normal(77).astype(np.float32)
    np.testing.assert_allclose(effects.convolve(wave, response), fftconvolve(wave, response), atol=1e-4)


def test_tilt_is_level_at_one_kilohertz_and_exact_in_octaves() -> None:
    time = np.arange(RATE) / RATE
    for hertz, wanted in ((1000, 0.0), (2000, 3.0), (500, -3.0), (4000, 6.0)):
        wave = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        gain = effects.decibels(effects.root_mean_square(effects.tilt(wave, 3.0, RATE)) / np.sqrt(0.5))
        assert gain == pytest.approx(wanted, abs=0.05)


def test_audible_span_finds_the_loud_part() -> None:
    wave = np.zeros(RATE, np.float32)
    wave[3200:6400] = 0.5
    assert effects.audible_span(wave, RATE) == (3200, 6400)
    assert effects.audible_span(np.zeros(100, np.float32), RATE) == (0, 0)
    assert effects.audible_span(np.ones(105, np.float32), RATE) == (0, 105)


def test_edges_are_soft_and_the_middle_untouched() -> None:
    out = effects.soften_edges(np.ones(1000, np.float32), RATE)
    assert out[0] < 0.01
    assert out[-1] < 0.01
    np.testing.assert_array_equal(out[64:-64], 1.0)
    np.testing.assert_array_equal(effects.soften_edges(np.ones(1, np.float32), RATE), 1.0)
