"""Effects on synthesised sounds: rooms, backgrounds, levels, edges."""

from __future__ import annotations

import numpy as np
from scipy import fft as fast

Wave = np.ndarray
QUIET = 1e-12


def root_mean_square(wave: Wave) -> float:
    """Return the root mean square of a wave `(S,)`; 0 for an empty one."""
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))) if wave.size else 0.0


def decibels(amplitude: float) -> float:
    """Return an amplitude ratio in dB, at least -240 so that silence stays finite."""
    return 20.0 * float(np.log10(max(amplitude, QUIET)))


def coloured_noise(generator: np.random.Generator, samples: int, exponent: float) -> Wave:
    """Make Gaussian noise whose power falls as `1 / f**exponent`, with unit root mean square.

    Args:
        generator: the only source of randomness.
        samples: length S.
        exponent: 0 white, 1 pink, 2 brown, -1 blue.

    Returns:
        `(S,)` float32. The slope is flat below 1/2000 of the rate, so that longer clips have no stronger drift.
    """
    size = fast.next_fast_len(samples, real=True)
    frequency = np.arange(size // 2 + 1, dtype=np.float32) / size
    gain = np.maximum(frequency, 1 / 2000) ** np.float32(-exponent / 2)
    gain[0] = 0.0
    spectrum = fast.rfft(generator.standard_normal(size, dtype=np.float32))
    noise = fast.irfft(spectrum * gain, size)[:samples]
    return (noise / max(root_mean_square(noise), QUIET)).astype(np.float32)


def slow_curve(generator: np.random.Generator, samples: int, rate: int, hertz: float) -> Wave:
    """Make a smooth random curve `(S,)` in about [-1, 1] that turns about `hertz` times a second."""
    knots = max(4, int(np.ceil(samples / rate * hertz)) + 3)
    values = generator.uniform(-1.0, 1.0, knots)
    place = np.linspace(0, knots - 2, samples)
    left = place.astype(np.int64)
    blend = 0.5 - 0.5 * np.cos(np.pi * (place - left))
    return (values[left] * (1 - blend) + values[left + 1] * blend).astype(np.float32)


def room_response(generator: np.random.Generator, seconds: float, wetness: float, rate: int) -> Wave:
    """Make the impulse response of a room as exponentially decaying noise after a direct path.

    High frequencies decay faster, absorbed by air and walls (Moorer 1979).

    Args:
        generator: the only source of randomness.
        seconds: RT60, the time in which the tail falls by 60 dB; 0 gives the direct path alone.
        wetness: energy of the tail over that of the direct path.
        rate: sample rate in Hz.

    Returns:
        `(R,)` float32, direct path at index 0 with amplitude 1.
    """
    length = int(seconds * rate)
    if length < 2 or wetness <= 0:
        return np.ones(1, np.float32)
    time = np.arange(length, dtype=np.float32) / rate
    fall = np.float32(-6.9078 / seconds)
    bright = generator.standard_normal(length, dtype=np.float32)
    dark = np.convolve(bright, np.full(4, 0.5, np.float32), mode="same")
    tail = dark * np.exp(fall * time) + 0.7 * bright * np.exp(2.5 * fall * time)
    tail[: int(generator.uniform(0.002, 0.02) * rate)] = 0.0
    tail *= np.sqrt(wetness / max(float(np.sum(np.square(tail))), QUIET))
    tail[0] = 1.0
    return tail.astype(np.float32)


def convolve(wave: Wave, response: Wave) -> Wave:
    """Convolve `(S,)` with `(R,)` into `(S + R - 1,)` by FFT, in float32."""
    if response.size == 1:
        return wave * response[0]
    length = wave.size + response.size - 1
    size = fast.next_fast_len(length, real=True)
    product = fast.rfft(wave.astype(np.float32), size) * fast.rfft(response, size)
    return fast.irfft(product, size)[:length].astype(np.float32)


def tilt(wave: Wave, decibels_per_octave: float, rate: int) -> Wave:
    """Tilt the spectrum around 1 kHz, as microphones and distances do; below 60 Hz the gain is constant."""
    if decibels_per_octave == 0:
        return wave
    size = fast.next_fast_len(wave.size, real=True)
    octaves = np.log2(np.maximum(np.arange(size // 2 + 1, dtype=np.float32) * (rate / size), 60.0) / 1000.0)
    gain = (10.0 ** (decibels_per_octave * octaves / 20.0)).astype(np.float32)
    return fast.irfft(fast.rfft(wave.astype(np.float32), size) * gain, size)[: wave.size].astype(np.float32)


def audible_span(wave: Wave, rate: int, floor_db: float = -40.0) -> tuple[int, int]:
    """Find the audible part of a wave: from the first to past the last 10-ms block within `floor_db` of the loudest.

    Args:
        wave: `(S,)`.
        rate: sample rate in Hz.
        floor_db: blocks whose level is lower than this, relative to the loudest block, are silence.

    Returns:
        `(start, stop)` in samples; `(0, 0)` for pure silence.
    """
    block = max(1, rate // 100)
    padded = np.pad(wave, (0, -wave.size % block))
    energy = np.mean(np.square(padded.reshape(-1, block)), axis=1)
    if not energy.size or energy.max() <= QUIET:
        return 0, 0
    loud = np.flatnonzero(energy >= energy.max() * 10.0 ** (floor_db / 10.0))
    return int(loud[0]) * block, min(wave.size, (int(loud[-1]) + 1) * block)


def soften_edges(wave: Wave, rate: int, seconds: float = 0.004) -> Wave:
    """Fade the first and last few milliseconds, so that cuts make no click."""
    length = min(int(seconds * rate), wave.size // 2)
    if length < 1:
        return wave
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length, dtype=np.float32) + 0.5) / length)
    out = wave.astype(np.float32, copy=True)
    out[:length] *= ramp
    out[-length:] *= ramp[::-1]
    return out
