"""Things that repeat by mechanism: engines, electronic alarms, clicking devices, insects."""

from __future__ import annotations

import numpy as np

from auricle.corpus.synthetic.effects import slow_curve
from auricle.corpus.synthetic.voice import (
    Note,
    Wave,
    damped_modes,
    harmonics_below_nyquist,
    high_pass,
    low_pass,
    phase_of,
    place_grains,
    play_table,
    resonate,
    sine,
    swell,
    wavetable,
)


def engine(note: Note) -> Wave:
    """An engine: harmonics of the crank rate with jitter and load, exhaust resonances, hiss; pitch = firing rate."""
    voice, event, rate = note.voice, note.event, note.rate
    cylinders = int(voice.choice([1, 2, 3, 4, 6]))
    crank = note.pitch / cylinders
    count = harmonics_below_nyquist(2 * crank, rate, 240)
    order = np.arange(1, count + 1)
    # Cylinders never fire alike: between the harmonics of the firing rate lie those of the crank.
    uneven = voice.uniform(0.03, 0.5)
    fall = (order / cylinders) ** -voice.uniform(0.5, 1.4)
    amplitudes = np.minimum(fall, 1.0) * np.where(order % cylinders, uneven, 1.0) * voice.uniform(0.3, 1.0, count)
    table = wavetable(amplitudes, voice.uniform(0, 2 * np.pi, count), 4096)
    ramp = event.uniform(-0.6, 0.8) * (event.random() < 0.5)
    speed = 2 ** (ramp * np.linspace(0, 1, note.samples, dtype=np.float32))
    speed *= 1 + voice.uniform(0.002, 0.03) * slow_curve(event, note.samples, rate, voice.uniform(4.0, 25.0))
    cycles = phase_of(crank * speed, rate)
    tone = play_table(table, cycles)
    tone /= max(float(np.abs(tone).max()), 1e-6)
    pulse = 0.5 + 0.5 * sine(cycles * cylinders)
    hiss = low_pass(note.noise(), float(np.exp(voice.uniform(np.log(400), np.log(6000)))), rate)
    out = tone + voice.uniform(0.02, 1.0) * hiss * pulse
    for _ in range(2):
        out = out + voice.uniform(0.2, 2.0) * resonate(out, voice.uniform(60, 900), voice.uniform(30, 200), rate)
    return out * swell(note, event.uniform(0.05, 0.5), event.uniform(0.05, 0.5))


def alarm(note: Note) -> Wave:
    """Electronic beeps in a fixed pattern: square, FM or two-tone; pitch = the first tone."""
    voice, event, rate = note.voice, note.event, note.rate
    beep = float(np.exp(voice.uniform(np.log(0.04), np.log(0.4))))
    duty, group = voice.uniform(0.3, 0.8), int(voice.choice([1, 2, 3, 4]))
    pause, second = voice.uniform(0.1, 0.6), float(voice.choice([1.0, 1.0, 1.25, 1.5, 0.75]))
    drive, index, ratio = voice.uniform(0.2, 8.0), voice.uniform(0.0, 2.0) ** 2, float(voice.choice([0.5, 1.0, 2.0]))
    ring = voice.random() < 0.25
    period = beep / duty
    cycle = group * period + pause * (group > 1)
    place = (note.time + event.random() * 0.2 * cycle) % np.float32(cycle)
    gate = ((place % np.float32(period)) < beep) & (place < group * period)
    tone_of = np.where((place // np.float32(period)) % 2 == 0, 1.0, second)
    frequency = np.minimum(note.pitch * tone_of, 0.3 * rate)
    cycles = phase_of(frequency, rate)
    modulation = index * min(1.0, 0.1 * rate / note.pitch / max(ratio, 1.0)) * sine(ratio * cycles) / (2 * np.pi)
    tone = np.tanh(drive * sine(cycles + modulation))
    if ring:
        # The bell of an old telephone: a fast hammer instead of a steady tone.
        tone = tone * (0.5 + 0.5 * sine(note.time * voice.uniform(12, 28)))
    return low_pass(tone * low_pass(gate.astype(np.float32), 120.0, rate), voice.uniform(2500, 9000), rate)


def clicks(note: Note) -> Wave:
    """A clicking mechanism: dry damped impacts, steady, in bursts or at random; pitch = their resonance."""
    voice, event, rate = note.voice, note.event, note.rate
    speed = float(np.exp(voice.uniform(np.log(3.0), np.log(28.0))))
    irregular, ring = voice.uniform(0.0, 1.0) ** 2, float(np.exp(voice.uniform(np.log(0.0008), np.log(0.012))))
    ratios = np.array([1.0, voice.uniform(1.4, 2.2), voice.uniform(2.3, 4.0)])
    strengths, hiss = voice.uniform(0.2, 1.0, 3), voice.uniform(0.0, 0.8)
    double, echo = voice.random() < 0.4, voice.uniform(0.012, 0.06)
    count = max(2, int(speed * note.samples / rate * event.uniform(0.6, 1.0)))
    steady, wild = np.arange(count) / speed, np.sort(event.uniform(0, note.samples / rate, count))
    starts = (((1 - irregular) * steady + irregular * wild) * rate).astype(int)
    starts -= starts[0]
    length = int(min(0.08, 9 * ring + 0.004) * rate)
    grains = []
    for _ in range(count):
        detune = ratios * note.pitch * event.normal(1.0, 0.03)
        grain = damped_modes(length, rate, detune, strengths * event.uniform(0.5, 1, 3), ring / np.sqrt(ratios))
        burst = event.standard_normal(length, dtype=np.float32) * np.exp(-np.arange(length) / (0.3 * ring * rate))
        grains.append((event.uniform(0.4, 1.0) * (grain + hiss * burst)).astype(np.float32))
    out = place_grains(note.samples, starts, grains)
    if double:
        out += 0.6 * place_grains(note.samples, starts + int(echo * rate), grains)
    return out


def insects(note: Note) -> Wave:
    """Crickets and cicadas: a high carrier chopped by wing strokes, strokes grouped in chirps; pitch = carrier."""
    voice, event, rate = note.voice, note.event, note.rate
    strokes = float(np.exp(voice.uniform(np.log(18.0), np.log(150.0))))
    chirps, duty = voice.uniform(0.8, 6.0), voice.uniform(0.25, 1.0)
    width, singers = voice.uniform(0.0, 0.35), int(voice.choice([1, 1, 2, 4]))
    out = np.zeros(note.samples, np.float32)
    for singer in range(singers):
        carrier = min(note.pitch * (1 + 0.06 * singer * voice.uniform(-1, 1)), 0.43 * rate)
        wobble = 1 + 0.004 * slow_curve(event, note.samples, rate, 30.0)
        tone = sine(phase_of(carrier * wobble, rate))
        if width > 0.05:
            rough = resonate(note.noise(), carrier, width * carrier, rate)
            tone = tone * (0.35 - width) + 4 * width * rough
        wing = np.maximum(sine(note.time * strokes * event.normal(1, 0.02) + event.random()), 0)
        song = (note.time * chirps * event.normal(1, 0.05) + event.random()) % 1.0 < duty
        level = voice.uniform(0.4, 1.0) * low_pass(song.astype(np.float32), 40.0, rate)
        out += tone * wing ** voice.uniform(0.5, 2.0) * level
    return high_pass(out, 500.0, rate) * swell(note, event.uniform(0.02, 0.3), event.uniform(0.02, 0.3))
