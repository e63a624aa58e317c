"""Air set in motion: voices, whistles, sirens, birds, wind."""

from __future__ import annotations

import numpy as np

from auricle.corpus.synthetic.effects import slow_curve
from auricle.corpus.synthetic.voice import (
    Note,
    Wave,
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

# First three formants in Hz of an adult male voice (Peterson and Barney 1952): i, e, a, o, u, schwa-like.
VOWELS = np.array(
    [[270, 2290, 3010], [530, 1840, 2480], [730, 1090, 2440], [570, 840, 2410], [300, 870, 2240], [490, 1350, 1690]],
    dtype=np.float64,
)
BANDWIDTHS = (70.0, 100.0, 140.0)


def _glottis(voice: np.random.Generator, highest: float, rate: int) -> Wave:
    """One period of a glottal flow derivative: harmonics that fall by 6 to 14 dB an octave."""
    count = harmonics_below_nyquist(highest, rate)
    order = np.arange(1, count + 1)
    return wavetable(order ** -voice.uniform(0.7, 1.6), np.pi * order * voice.uniform(0.0, 0.2))


def _formants(wave: Wave, centres: Wave, rate: int) -> Wave:
    weights = (1.0, 0.6, 0.3)
    bands = [w * resonate(wave, float(f), b, rate) for w, f, b in zip(weights, centres, BANDWIDTHS, strict=True)]
    return np.asarray(np.sum(bands, axis=0), dtype=np.float32)


def vowel(note: Note) -> Wave:
    """A held or gliding vowel: glottal pulses with vibrato and jitter through formants; pitch = fundamental."""
    voice, event, rate = note.voice, note.event, note.rate
    tract, breath = voice.uniform(0.9, 1.35), voice.uniform(0.0, 0.08)
    vibrato, depth = voice.uniform(4.0, 7.0), voice.uniform(0.0, 0.03)
    table = _glottis(voice, 1.3 * note.pitch, rate)
    glide = event.uniform(-0.25, 0.25) if event.random() < 0.5 else 0.0
    first, last = event.integers(0, len(VOWELS), 2)
    place = np.linspace(0, 1, note.samples, dtype=np.float32)
    drift = 0.012 * slow_curve(event, note.samples, rate, 20.0)
    bend = glide * place + depth * sine(note.time * vibrato + event.random()) + drift
    tone = play_table(table, phase_of(note.pitch * (1 + bend), rate)) + breath * note.noise()
    out = _formants(tone, VOWELS[first] * tract, rate)
    if last != first and event.random() < 0.5:
        blend = np.clip(2.5 * place - 0.75, 0, 1)
        out = (1 - blend) * out + blend * _formants(tone, VOWELS[last] * tract, rate)
    return out * swell(note, event.uniform(0.01, 0.15), event.uniform(0.05, 0.3))


def babble(note: Note) -> Wave:
    """Speech-like babble of one to three talkers: syllables of voiced formants and hisses; pitch = first talker's."""
    voice, event, rate = note.voice, note.event, note.rate
    talkers = int(voice.choice([1, 1, 2, 3]))
    tempo = voice.uniform(3.0, 6.5)
    out = np.zeros(note.samples, np.float32)
    for talker in range(talkers):
        pitch = note.pitch * (1.0 if talker == 0 else float(np.exp(voice.uniform(-0.5, 0.5))))
        tract = voice.uniform(0.9, 1.35)
        table = _glottis(voice, 1.5 * pitch, rate)
        starts = np.cumsum(event.gamma(6.0, 1 / (6.0 * tempo), int(note.samples / rate * tempo * 1.6) + 3))
        starts = ((starts - starts[0]) * rate).astype(int)
        tune = 1 + 0.2 * slow_curve(event, note.samples, rate, 2.0)
        tone = play_table(table, phase_of(pitch * tune, rate)) + 0.02 * note.noise()
        spoken = np.zeros(note.samples, np.float32)
        hissed = np.zeros(note.samples, np.float32)
        choice = event.integers(0, len(VOWELS), starts.size)
        # Each vowel filters the whole tone once; syllables then open and close it: cheaper than a filter per syllable.
        for kind in np.unique(choice):
            gate = np.zeros(note.samples, np.float32)
            for start in starts[choice == kind]:
                length = int(event.uniform(0.07, 0.24) * rate)
                gate += place_grains(note.samples, np.array([start]), [event.uniform(0.3, 1.0) * _bump(length)])
            spoken += gate * _formants(tone, VOWELS[kind] * tract, rate)
        for start in starts[event.random(starts.size) < 0.45]:
            length = int(event.uniform(0.03, 0.12) * rate)
            grain = event.standard_normal(length, dtype=np.float32) * _bump(length) * event.uniform(0.1, 0.5)
            hissed += place_grains(note.samples, np.array([start - length // 2]), [grain])
        loud = max(float(np.abs(spoken).max()), 1e-6)
        out += spoken / loud + 0.4 * high_pass(hissed, voice.uniform(1500, 3500), rate)
    return out


def _bump(length: int) -> Wave:
    return np.sin(np.pi * (np.arange(max(length, 2), dtype=np.float32) + 0.5) / max(length, 2)) ** 2


def whistle(note: Note) -> Wave:
    """Lips or a pipe: a nearly pure tone with breath, vibrato, and steps of a tune; pitch = first tone."""
    voice, event, rate = note.voice, note.event, note.rate
    breath, second = voice.uniform(0.01, 0.25), voice.uniform(0.0, 0.15)
    vibrato, depth = voice.uniform(3.5, 7.5), voice.uniform(0.0, 0.02)
    tones = 1 + int(event.integers(0, 1 + round(2.5 * note.samples / rate)))
    steps = np.concatenate([[0], event.integers(-7, 8, tones - 1) if tones > 1 else []])
    edges = np.sort(np.concatenate([[0.0], event.uniform(0.1, 0.95, tones - 1)])) * note.samples
    staircase = steps[np.searchsorted(edges, np.arange(note.samples), side="right") - 1]
    slide = low_pass(staircase.astype(np.float32), event.uniform(4.0, 25.0), rate)
    slide += event.uniform(-3, 3) * np.linspace(0, 1, note.samples, dtype=np.float32) ** 2
    frequency = note.pitch * 2 ** (slide / 12) * (1 + depth * sine(note.time * vibrato))
    cycles = phase_of(np.minimum(frequency, 0.42 * rate), rate)
    tone = sine(cycles) + (second * sine(2 * cycles) if 2 * frequency.max() < 0.45 * rate else 0.0)
    air = resonate(note.noise(), note.pitch, 0.3 * note.pitch, rate)
    level = 1 + 0.3 * slow_curve(event, note.samples, rate, 3.0)
    return (tone * level + 3 * breath * air) * swell(note, event.uniform(0.02, 0.15), event.uniform(0.03, 0.25))


def siren(note: Note) -> Wave:
    """A siren: wail, yelp, two-tone or a slow hand crank, with a horn's harmonics; pitch = middle of the sweep."""
    voice, event, rate = note.voice, note.event, note.rate
    kind = int(voice.integers(4))
    period = (voice.uniform(1.2, 3.5), voice.uniform(0.12, 0.45), voice.uniform(0.4, 1.2), voice.uniform(2.5, 5.0))[
        kind
    ]
    span = voice.uniform(0.25, 0.9) if kind != 2 else voice.uniform(0.25, 0.5)
    drive, doppler = voice.uniform(0.3, 4.0), event.uniform(-0.06, 0.06)
    place = note.time / np.float32(period) + event.random()
    if kind == 2:
        shape = low_pass(np.where(place % 1.0 < 0.5, 1.0, -1.0).astype(np.float32), 30.0, rate)
    elif kind == 1:
        shape = 1 - 2 * np.abs(2 * (place % 1.0) - 1)
    else:
        shape = sine(place)
    bend = shape * span / 2 + doppler * np.linspace(-1, 1, note.samples, dtype=np.float32)
    tone = np.tanh(drive * sine(phase_of(note.pitch * 2**bend, rate)))
    horn = tone + resonate(tone, voice.uniform(700, 2800), 500.0, rate)
    level = 1 + 0.25 * slow_curve(event, note.samples, rate, 1.0)
    return horn * level * swell(note, event.uniform(0.03, 0.4), event.uniform(0.03, 0.4))


def birdsong(note: Note) -> Wave:
    """A bird: phrases of frequency-modulated syllables that a singer repeats; pitch = middle of a syllable."""
    voice, event, rate = note.voice, note.event, note.rate
    kinds = int(voice.integers(1, 4))
    lengths, sweeps = voice.uniform(0.03, 0.22, kinds), voice.uniform(-0.9, 0.9, kinds)
    curves, trills = voice.uniform(-0.8, 0.8, kinds), voice.uniform(20.0, 70.0, kinds)
    trill_depths = voice.uniform(0.0, 0.08, kinds) * (voice.random(kinds) < 0.5)
    offsets, gap = voice.uniform(-0.35, 0.35, kinds), voice.uniform(0.02, 0.2)
    second = voice.uniform(0.0, 0.3)
    starts, grains, now = [], [], 0.0
    syllable, repeats = int(event.integers(kinds)), int(event.integers(1, 8))
    while now < note.samples / rate - 0.02:
        if repeats == 0:
            syllable, repeats = int(event.integers(kinds)), int(event.integers(1, 8))
            now += event.exponential(0.15)
        repeats -= 1
        length = max(16, int(lengths[syllable] * event.uniform(0.85, 1.15) * rate))
        place = np.linspace(-1, 1, length, dtype=np.float32)
        octave = offsets[syllable] + sweeps[syllable] * place / 2 + curves[syllable] * (place**2 - 0.3)
        wobble = 1 + trill_depths[syllable] * sine(np.arange(length) / rate * trills[syllable])
        frequency = np.minimum(note.pitch * 2**octave * wobble * event.uniform(0.97, 1.03), 0.44 * rate)
        cycles = phase_of(frequency, rate)
        overtone = second * sine(2 * cycles) * (2 * frequency < 0.45 * rate)
        grains.append((sine(cycles) + overtone) * _bump(length) * np.float32(event.uniform(0.5, 1.0)))
        starts.append(int(now * rate))
        now += length / rate + gap * event.uniform(0.7, 1.3)
    return place_grains(note.samples, np.array(starts), grains)


def wind(note: Note) -> Wave:
    """Gusts: low noise whose strength and colour move together, with a howl at an edge; pitch = the howl."""
    voice, event, rate = note.voice, note.event, note.rate
    howl, body = voice.uniform(0.0, 2.5), float(np.exp(voice.uniform(np.log(150), np.log(1500))))
    gusts = voice.uniform(0.4, 3.0)
    curve = 0.5 + 0.5 * slow_curve(event, note.samples, rate, gusts)
    noise = note.noise()
    calm, strong = low_pass(noise, body, rate), low_pass(noise, 4 * body, rate)
    edge = resonate(noise, note.pitch, voice.uniform(0.05, 0.3) * note.pitch, rate)
    level = (voice.uniform(0.05, 0.4) + curve) ** 1.5
    out = ((1 - curve) * 2 * calm + curve * strong + howl * curve**2 * edge) * level
    return out * swell(note, event.uniform(0.1, 0.5), event.uniform(0.1, 0.5))
