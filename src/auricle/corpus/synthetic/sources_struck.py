"""Struck and plucked bodies, and water: strings, bells and bars, membranes, feet on floors, rain, drops."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from auricle.corpus.synthetic.effects import slow_curve
from auricle.corpus.synthetic.voice import (
    Note,
    Wave,
    damped_modes,
    high_pass,
    low_pass,
    phase_of,
    place_grains,
    resonate,
    sine,
    swell,
)

# Church-bell partials over the strike note (hum, prime, tierce, quint, nominal ...), free bars, and a struck bowl.
BELL_PARTIALS = (
    (0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.33),
    (1.0, 2.756, 5.404, 8.933, 13.34),
    (1.0, 2.71, 5.15, 8.43, 11.9),
)
# Zeros of Bessel functions over the first one: the modes of an ideal circular membrane.
MEMBRANE_MODES = np.array([1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.6, 4.06])


def plucked_string(note: Note) -> Wave:
    """A string by Karplus and Strong (1983): a noise burst in a delay line with a loss filter; pitch = fundamental.

    The pluck's place on the string is a comb in the burst, as Jaffe and Smith (1983) extend it. A note may be
    plucked again within the event, or strummed with its fifth and octave.
    """
    voice, event, rate = note.voice, note.event, note.rate
    damping, brightness = voice.uniform(0.05, 0.5), float(np.exp(voice.uniform(np.log(600), np.log(9000))))
    decay, place = float(np.exp(voice.uniform(np.log(0.25), np.log(3.0)))), voice.uniform(0.08, 0.5)
    body, body_gain = voice.uniform(90.0, 600.0), voice.uniform(0.0, 2.0)
    plucks = int(event.choice([1, 1, 1, 2, 3, 5]))
    starts = np.sort(event.uniform(0, 0.8 * note.samples, plucks)).astype(int)
    starts[0] = 0
    chord = (1.0, 1.5, 2.0) if event.random() < 0.25 else (1.0,)
    out = np.zeros(note.samples, np.float32)
    for start in starts:
        step = 1.0 if start == 0 else float(2.0 ** (event.choice([-5, -3, 0, 0, 2, 4, 7]) / 12))
        for ratio in chord:
            pitch = min(note.pitch * step * ratio, rate / 8)
            period = rate / pitch
            whole = int(period - damping)
            part = period - damping - whole
            burst = low_pass(event.uniform(-1, 1, whole + 2).astype(np.float32), brightness, rate)
            burst -= np.roll(burst, int(place * whole))
            excitation = np.zeros(note.samples - start, np.float32)
            size = min(burst.size, excitation.size)
            excitation[:size] = burst[:size]
            loss = 10.0 ** (-3.0 * period / rate / decay)
            loop = loss * np.convolve([1 - damping, damping], [1 - part, part])
            out[start:] += string_loop(excitation, loop.astype(np.float32), whole)
    return out + body_gain * resonate(out, body, 60.0, rate)


def string_loop(excitation: Wave, taps: Wave, period: int) -> Wave:
    """Run the delay line `y[n] = x[n] + sum_k taps[k] * y[n - period - k]`, a period at a time.

    Within one period all samples depend on earlier periods only, so the cost does not grow with the period as that
    of the equal recursive filter (`scipy.signal.lfilter`) does.

    Args:
        excitation: `(S,)` float32.
        taps: `(K,)` float32, the loss filter.
        period: delay in samples, at least 1.

    Returns:
        `(S,)` float32.
    """
    out = excitation.copy()
    for start in range(period, out.size, period):
        stop = min(start + period, out.size)
        for lag, tap in enumerate(taps, period):
            first = max(start, lag)
            if first < stop:
                out[first:stop] += tap * out[first - lag : stop - lag]
    return out


def bell(note: Note) -> Wave:
    """A bell, bar or bowl: inharmonic partials that beat and decay at their own rates; pitch = strike note."""
    voice, event = note.voice, note.event
    ratios = np.array(BELL_PARTIALS[int(voice.integers(len(BELL_PARTIALS)))])
    ratios = ratios * (1 + voice.normal(0, 0.012, ratios.size))
    strengths = voice.uniform(0.15, 1.0, ratios.size) * ratios ** -voice.uniform(0.2, 1.3)
    ring = float(np.exp(voice.uniform(np.log(0.12), np.log(1.6))))
    decays = ring / ratios ** voice.uniform(0.3, 1.2) * voice.uniform(0.7, 1.3, ratios.size)
    split = 1 + voice.uniform(0.0, 0.004, ratios.size)
    strikes = int(event.choice([1, 1, 2, 3, 6]))
    starts = np.linspace(0, 0.9 * note.samples, strikes, endpoint=False).astype(int)
    hardness = 10 ** event.uniform(-0.6, 0.2)
    grains = []
    for start in starts:
        hit = strengths * np.minimum(1.0, ratios ** np.log2(hardness + 0.5)) * event.uniform(0.6, 1.4, ratios.size)
        pair = np.concatenate([ratios, ratios * split]) * note.pitch
        levels = np.concatenate([hit, 0.6 * hit])
        grains.append(
            damped_modes(
                note.samples - int(start), note.rate, pair, levels, np.tile(decays, 2), event.uniform(0, 1, pair.size)
            )
        )
    return place_grains(note.samples, starts, grains)


def drum(note: Note) -> Wave:
    """A membrane: Bessel modes, a falling pitch, a stick's noise and snares on some; pitch = lowest mode."""
    voice, event, rate = note.voice, note.event, note.rate
    decay = float(np.exp(voice.uniform(np.log(0.05), np.log(0.45))))
    bend, bend_seconds = voice.uniform(0.0, 0.8), voice.uniform(0.015, 0.06)
    slope, noisiness = voice.uniform(0.3, 1.6), voice.uniform(0.0, 0.9) ** 2
    noise_low, noise_decay = voice.uniform(300.0, 3500.0), voice.uniform(0.01, 0.2)
    hits = 1 + int(event.integers(0, 1 + round(note.samples / rate * 5)))
    steps = np.arange(hits) / hits + event.normal(0, 0.01, hits)
    starts = (np.clip(steps, 0, 0.97) * note.samples).astype(int)
    starts[0] = 0
    length = min(note.samples, int(6 * max(decay, noise_decay) * rate) + 1)
    time = np.arange(length, dtype=np.float32) / rate
    # The stretched skin is stiffer just after the blow: every mode starts sharp and settles.
    warped = time + bend * bend_seconds * (1 - np.exp(-time / bend_seconds))
    grains = []
    for accent in event.uniform(0.3, 1.0, hits):
        body = np.zeros(length, np.float32)
        weights = event.uniform(0.2, 1.0, MEMBRANE_MODES.size) * MEMBRANE_MODES**-slope
        for ratio, weight in zip(MEMBRANE_MODES[:7], weights[:7], strict=True):
            if ratio * note.pitch * (1 + bend) < 0.45 * rate:
                damp = np.exp(-time * np.float32(ratio**0.7 / decay))
                body += np.float32(weight) * damp * np.sin(np.float32(2 * np.pi * ratio * note.pitch) * warped)
        stick = high_pass(event.standard_normal(length, dtype=np.float32), noise_low, rate)
        grains.append(accent * (body + 1.5 * noisiness * stick * np.exp(-time / np.float32(noise_decay))))
    return place_grains(note.samples, starts, grains)


def footsteps(note: Note) -> Wave:
    """Heel and toe on a floor that is hard, hollow or loose; pitch = the floor's resonance."""
    voice, event, rate = note.voice, note.event, note.rate
    looseness, hardness = voice.random(), float(np.exp(voice.uniform(np.log(300), np.log(5000))))
    pace, roll = voice.uniform(1.3, 3.2), voice.uniform(0.05, 0.14)
    ring = voice.uniform(0.01, 0.05)
    count = max(2, int(note.samples / rate * pace))
    starts = (np.arange(count) + event.normal(0, 0.05, count).clip(-0.15, 0.15)) / pace * rate
    starts[0] = 0
    length = int(0.28 * rate)
    time = np.arange(length, dtype=np.float32) / rate
    grains = []
    for foot in range(count):
        level = event.uniform(0.5, 1.0) * (1.0 if foot % 2 else voice.uniform(0.7, 1.0))
        pitch = note.pitch * event.uniform(0.9, 1.1)
        thump = damped_modes(length, rate, pitch * np.array([1.0, 2.3]), np.array([1.0, 0.4]), np.full(2, ring))
        scrape = low_pass(event.standard_normal(length, dtype=np.float32), hardness, rate)
        # Gravel and leaves: the scrape breaks into many tiny impacts.
        grit = np.where(event.random(length) < 0.03, event.exponential(6.0, length), 0.0).astype(np.float32)
        scrape *= (1 - looseness) + looseness * lfilter([1.0], [1.0, -0.9], grit).astype(np.float32)
        toe = np.exp(-np.square((time - roll) / np.float32(0.02 + 0.03 * looseness)))
        heel = np.exp(-time / np.float32(0.006 + 0.02 * looseness))
        grains.append(level * (thump * (1.2 - looseness) + 1.5 * scrape * (heel + 0.6 * toe)))
    return place_grains(note.samples, starts, grains)


def rain(note: Note) -> Wave:
    """Rain on a surface: a hiss under random impacts that ring the surface; pitch = the surface's resonance."""
    voice, event, rate = note.voice, note.event, note.rate
    density = float(np.exp(voice.uniform(np.log(40.0), np.log(1500.0))))
    hiss_low, hiss_high = voice.uniform(200, 1500), voice.uniform(3000, 9000)
    bed, bandwidth = voice.uniform(0.05, 0.6), voice.uniform(0.1, 0.8) * note.pitch
    impacts = np.where(event.random(note.samples, dtype=np.float32) < density / rate, 1.0, 0.0).astype(np.float32)
    sizes = event.exponential(1.0, note.samples).astype(np.float32)
    drops = impacts * sizes * np.sign(note.noise())
    ringing = resonate(drops, note.pitch, bandwidth, rate) + 0.3 * drops
    ringing /= max(float(np.sqrt(np.mean(np.square(ringing)))), 1e-6)
    hiss = high_pass(low_pass(note.noise(), hiss_high, rate), hiss_low, rate)
    shower = 1 + 0.35 * slow_curve(event, note.samples, rate, 1.5)
    return (ringing + 4 * bed * hiss) * shower * swell(note, event.uniform(0.05, 0.6), event.uniform(0.05, 0.6))


def water_drops(note: Note) -> Wave:
    """Drops into water: bubbles that ring at their Minnaert frequency and rise; pitch = the commonest bubble's.

    A bubble of radius r rings at about 3 m/s / r and rises in pitch as it nears the surface (van den Doel 2005).
    """
    voice, event, rate = note.voice, note.event, note.rate
    speed = float(np.exp(voice.uniform(np.log(1.5), np.log(30.0))))
    spread, rise = voice.uniform(0.05, 0.5), voice.uniform(0.0, 8.0)
    ring, splash = voice.uniform(0.012, 0.06), voice.uniform(0.0, 0.25)
    count = max(1, int(event.poisson(speed * note.samples / rate)))
    starts = np.sort(event.uniform(0, note.samples, count)).astype(int)
    starts -= starts[0]
    grains = []
    for _ in range(min(count, 80)):
        pitch = min(note.pitch * float(np.exp(event.normal(0, spread))), 0.35 * rate)
        decay = ring * float(np.sqrt(note.pitch / pitch))
        length = int(6 * decay * rate)
        time = np.arange(length, dtype=np.float32) / rate
        frequency = np.minimum(pitch * (1 + rise * time), 0.45 * rate)
        bubble = sine(phase_of(frequency, rate)) * np.exp(-time / np.float32(decay))
        tick = event.standard_normal(length, dtype=np.float32) * np.exp(-time / np.float32(0.002))
        grains.append((event.exponential(0.6) + 0.1) * (bubble + splash * tick))
    return place_grains(note.samples, starts[: len(grains)], grains)
