"""How close the spectral augmentation is to the waveform one, and both to audiomentations, on real clips.

    python benchmarks/augmentation_closeness.py --data FOLDER [--clips 40] [--seconds 5]

Prints a Markdown table. Each transform alone, always applied, then the published chain; both implementations get the
same draws, and audiomentations 0.43.1 (extra `bench`) the same parameters with its own noise. Figures compare raw
log-mels (nats) of the Kaldi filter bank, over the cells where one of the two is above the floor:

    r           correlation over all cells of a clip, averaged over clips
    r in band   the same after subtracting each band's mean over the clip: what is left is change in time
    mean, std   of the difference (first minus second)
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

import audiomentations
import numpy as np
import soundfile
import soxr
import torch

from auricle.audio.augment.config import AugmentConfig, draw
from auricle.audio.augment.draws import Draws, Noise
from auricle.audio.augment.spectral import SpectralChain
from auricle.audio.augment.waveform import WaveformChain
from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig

RATE = 16000
FLOOR = -15.9


def transforms() -> dict[str, AugmentConfig]:
    """One transform at a time, and chains."""
    off = AugmentConfig.off()
    return {
        "none": off,
        "roll": off.replace(roll=True),
        "gain": off.replace(gain_beta=10.0),
        "polarity": off.replace(polarity_p=1.0),
        "time stretch": off.replace(stretch_p=1.0),
        "noise": off.replace(noise_p=1.0),
        "level": off.replace(level_p=1.0),
        "high-pass": off.replace(high_pass_p=1.0),
        "band-stop": off.replace(band_stop_p=1.0),
        "pitch shift": off.replace(pitch_p=1.0),
        "light chain": AugmentConfig.light(),
        "published chain": AugmentConfig(),
    }


def clips(folder: Path, count: int, seconds: float) -> list[np.ndarray]:
    """Evenly chosen recordings below the folder, cut at most to the given length; near-silent ones are left out."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".wav", ".flac", ".ogg", ".mp3"})
    random.Random(0).shuffle(paths)
    found: list[np.ndarray] = []
    for path in paths:
        with soundfile.SoundFile(path) as file:
            wave = file.read(int(seconds * file.samplerate), dtype="float32", always_2d=True).mean(1)
            wave = soxr.resample(wave, file.samplerate, RATE).astype(np.float32)
        if len(wave) >= RATE // 2 and np.sqrt(np.mean(wave**2)) > 1e-3:
            found.append(wave)
        if len(found) == count:
            break
    return found


def published(wave: np.ndarray, draws: Draws) -> np.ndarray:
    """Run audiomentations on one clip with given parameters."""
    value = {name: float(x[0]) for name, x in draws.certificate().items()}
    wave = np.roll(wave, 0 if math.isnan(value["roll"]) else int(value["roll"]))
    wave = wave * np.float32(draws.amplitude[0])
    steps: list[audiomentations.core.transforms_interface.BaseWaveformTransform] = []
    if not math.isnan(value["rate"]):
        steps.append(audiomentations.TimeStretch(value["rate"], value["rate"], p=1))
    if not math.isnan(value["snr_db"]):
        steps.append(audiomentations.AddGaussianSNR(value["snr_db"], value["snr_db"], p=1))
    if not math.isnan(value["level_db"]):
        steps.append(audiomentations.Gain(value["level_db"], value["level_db"], p=1))
    if not math.isnan(value["high_pass_hz"]):
        slope, cut = int(value["high_pass_db_per_octave"]), value["high_pass_hz"]
        steps.append(audiomentations.HighPassFilter(cut, cut, slope, slope, p=1))
    if not math.isnan(value["band_stop_low_hz"]):
        low, high = value["band_stop_low_hz"], value["band_stop_high_hz"]
        slope, centre = int(value["band_stop_db_per_octave"]), (low + high) / 2
        width = (high - low) / centre
        steps.append(audiomentations.BandStopFilter(centre, centre, width, width, slope, slope, p=1))
    if not math.isnan(value["semitones"]):
        steps.append(audiomentations.PitchShift(value["semitones"], value["semitones"], p=1))
    return audiomentations.Compose(steps)(wave.astype(np.float32), RATE)


def compare(pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Return `r | r in band | mean | std` over pairs of log-mels."""
    overall, banded, differences = [], [], []
    for a, b in pairs:
        seen = (a > FLOOR) | (b > FLOOR)
        if seen.sum() < 100:
            continue
        overall.append(np.corrcoef(a[seen], b[seen])[0, 1])
        flat_a, flat_b = ((x - np.average(x, 0, weights=seen + 1e-9))[seen] for x in (a, b))
        if min(flat_a.std(), flat_b.std()) > 0:
            banded.append(np.corrcoef(flat_a, flat_b)[0, 1])
        differences.append((a - b)[seen])
    difference = np.concatenate(differences)
    return f"{np.mean(overall):.4f} | {np.mean(banded):.4f} | {difference.mean():+.3f} | {difference.std():.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    front = KaldiFbankConfig(mean=0.0, std=1.0, divisor=1.0).build()
    spectral, waveform = SpectralChain(front), WaveformChain(front)
    waves = clips(args.data, args.clips, args.seconds)
    seconds = sum(map(len, waves)) / RATE
    print(f"{len(waves)} clips, {seconds:.0f} s; log-mels in nats\n")
    names = ("spectral - waveform", "spectral - audiomentations", "waveform - audiomentations")
    print("| transform | " + " | ".join(f"{name}: r | r in band | mean | std" for name in names) + " |")
    print("|---" * 13 + "|")
    for name, config in transforms().items():
        generator = torch.Generator().manual_seed(1)
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 - audiomentations draws from NumPy's global state
        pairs: list[list[tuple[np.ndarray, np.ndarray]]] = [[], [], []]
        for wave in waves:
            audio = Audio.stack([wave], RATE)
            draws: tuple[Draws, ...]
            noise: Noise
            draws, noise = draw(config, audio, 1, front, generator)
            a, b = (chain(audio, draws, noise)[0].x[0].numpy() for chain in (spectral, waveform))
            c = front(Audio.stack([published(wave, draws[0])], RATE)).x[0].numpy()
            for group, pair in zip(pairs, ((a, b), (a, c), (b, c)), strict=True):
                group.append(pair)
        print(f"| {name} | " + " | ".join(compare(group) for group in pairs) + " |", flush=True)


if __name__ == "__main__":
    main()
