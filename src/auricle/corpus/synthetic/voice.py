"""The parts that renderers of the built-in corpus share: a note to play, and elementary oscillators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

Wave = np.ndarray


@dataclass(frozen=True)
class Note:
    """The input of a renderer.

    Attributes:
        voice: generator of the instrument's timbre; the same for all notes of a voice.
        event: generator of this one performance.
        pitch: Hz.
        samples: length S of the event.
        rate: sample rate in Hz.
    """

    voice: np.random.Generator
    event: np.random.Generator
    pitch: float
    samples: int
    rate: int

    @property
    def time(self) -> Wave:
        """Seconds since the onset, `(S,)` float32."""
        return np.arange(self.samples, dtype=np.float32) / self.rate

    def noise(self) -> Wave:
        """White Gaussian noise `(S,)` float32 of this event."""
        return self.event.standard_normal(self.samples, dtype=np.float32)


def phase_of(frequency: Wave, rate: int) -> Wave:
    """Integrate a frequency curve `(S,)` in Hz to a phase in cycles. In float64: float32 drifts within a second."""
    return np.cumsum(frequency, dtype=np.float64) / rate


def sine(cycles: Wave) -> Wave:
    """Sine of a phase in cycles, float32."""
    return np.sin((2 * np.pi) * (cycles % 1.0).astype(np.float32))


def wavetable(amplitudes: Wave, phases: Wave, size: int = 2048) -> Wave:
    """One period `(size,)` of a sum of harmonics 1, 2, ... with these amplitudes and phases (in radians)."""
    spectrum = np.zeros(size // 2 + 1, np.complex64)
    spectrum[1 : len(amplitudes) + 1] = amplitudes * np.exp(1j * phases)
    return np.fft.irfft(spectrum, size).astype(np.float32) * (size / 2)


def play_table(table: Wave, cycles: Wave) -> Wave:
    """Read a wavetable along a phase in cycles. The table is long enough for nearest-sample reading."""
    return table[((cycles % 1.0) * table.size).astype(np.int64) % table.size]


def harmonics_below_nyquist(highest: float, rate: int, limit: int = 200) -> int:
    """Return the number of harmonics of a fundamental below 0.45 of the rate, at least one."""
    return int(np.clip(0.45 * rate / highest, 1, limit))


def resonate(wave: Wave, hertz: float, bandwidth: float, rate: int) -> Wave:
    """Filter by a two-pole resonance of unit gain at its centre; the centre is kept below 0.45 of the rate."""
    angle = 2 * np.pi * min(hertz, 0.45 * rate) / rate
    radius = float(np.exp(-np.pi * bandwidth / rate))
    poles = np.array([1.0, -2 * radius * np.cos(angle), radius**2], np.float32)
    gain = np.abs(np.polyval(poles[::-1].astype(np.float64), np.exp(-1j * angle)))
    return lfilter(np.array([gain], np.float32), poles, wave).astype(np.float32)


def low_pass(wave: Wave, hertz: float, rate: int) -> Wave:
    """One-pole low-pass, -6 dB an octave above `hertz`."""
    keep = float(np.exp(-2 * np.pi * min(hertz, 0.49 * rate) / rate))
    return lfilter(np.array([1 - keep], np.float32), np.array([1.0, -keep], np.float32), wave).astype(np.float32)


def high_pass(wave: Wave, hertz: float, rate: int) -> Wave:
    """One-pole high-pass: the complement of `low_pass`."""
    return wave - low_pass(wave, hertz, rate)


def damped_modes(
    samples: int, rate: int, hertz: Wave, amplitudes: Wave, decays: Wave, phases: Wave | None = None
) -> Wave:
    """Sum damped sinusoids; modes above 0.45 of the rate are dropped.

    Args:
        samples: length S.
        rate: sample rate in Hz.
        hertz: `(K,)` frequencies.
        amplitudes: `(K,)`.
        decays: `(K,)` time constants in seconds.
        phases: `(K,)` in cycles, or None for zero.

    Returns:
        `(S,)` float32.
    """
    out = np.zeros(samples, np.float32)
    phases = np.zeros(len(hertz)) if phases is None else phases
    for f, a, d, p in zip(hertz, amplitudes, decays, phases, strict=True):
        # After eleven time constants a mode has decayed by 95 dB.
        length = min(samples, int(11 * d * rate) + 1)
        if f >= 0.45 * rate or length < 2:
            continue
        time = np.arange(length, dtype=np.float32) / rate
        turn = (np.float32(f) * time + np.float32(p)) % np.float32(1.0)
        out[:length] += np.float32(a) * np.exp(time * np.float32(-1 / d)) * np.sin(np.float32(2 * np.pi) * turn)
    return out


def place_grains(samples: int, starts: Wave, grains: list[Wave]) -> Wave:
    """Add short waves at sample positions, cut off at the end."""
    out = np.zeros(samples, np.float32)
    for start, grain in zip(starts, grains, strict=True):
        stop = min(samples, int(start) + grain.size)
        if 0 <= start < stop:
            out[int(start) : stop] += grain[: stop - int(start)]
    return out


def swell(note: Note, attack: float, release: float) -> Wave:
    """Return an envelope `(S,)` with an attack and a release in seconds, at most half of the note each."""
    length = note.samples
    rise = max(1, min(int(attack * note.rate), length // 2))
    fall = max(1, min(int(release * note.rate), length // 2))
    out = np.ones(length, np.float32)
    out[:rise] = np.sin(0.5 * np.pi * np.arange(rise, dtype=np.float32) / rise) ** 2
    out[length - fall :] = np.cos(0.5 * np.pi * np.arange(1, fall + 1, dtype=np.float32) / fall) ** 2
    return out
