"""Water: rain as a crowd of impacts, drops as single bubbles."""

from __future__ import annotations

import numpy as np

from auricle.corpus.synthetic.effects import slow_curve
from auricle.corpus.synthetic.voice import (
    Note,
    Wave,
    high_pass,
    low_pass,
    phase_of,
    place_grains,
    resonate,
    sine,
    swell,
)


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
