"""How many clips a core turns into two augmented, normalised views: auricle against the published chain.

    python benchmarks/augmentation.py [--rounds 7] [--clips 32] [--seconds 10]

The published chain is roll and Beta gain in NumPy, audiomentations 0.43.1 with AudioMosaic's transforms at their
published probabilities and ranges, mean removal, Kaldi fbank (kaldi-native-fbank, 128 bins, Hann, no dither) and
normalisation, all twice per clip. Its pipeline is built once, though the released code builds it anew for every clip.
One thread each, processor time; all take turns within one run, so that they meet the same machine; the ratio is that
of the medians, its range that of the rounds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import audiomentations
import kaldi_native_fbank
import numpy as np
import torch

from auricle.audio.augment.config import AugmentConfig
from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig

RATE = 16000


def published_views(wave: np.ndarray, chain: audiomentations.Compose, rng: np.random.Generator) -> list[np.ndarray]:
    """Make two views of one clip by the published chain."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hanning"
    options.mel_opts.num_bins = 128
    options.use_energy = False
    options.htk_compat = True
    views = []
    for _ in range(2):
        view = np.roll(wave, rng.integers(len(wave))) * np.float32(rng.beta(10, 10) + 0.5)
        view = chain(view, RATE)
        view = view - view.mean()
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(RATE, view)
        fbank.input_finished()
        frames = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
        views.append((frames + 4.2677393) / (2 * 4.5689974))
    return views


def seconds_of(work: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    rng = np.random.default_rng(0)
    samples = round(args.seconds * RATE)
    waves = (0.1 * rng.standard_normal((args.clips, samples))).astype(np.float32)
    audio = Audio.stack(list(waves), RATE)
    chain = audiomentations.Compose(
        [
            audiomentations.PolarityInversion(p=0.5),
            audiomentations.TimeStretch(min_rate=0.7, max_rate=1.3, leave_length_unchanged=True, p=0.7),
            audiomentations.AddGaussianSNR(p=0.5),
            audiomentations.Gain(p=0.3),
            audiomentations.HighPassFilter(p=0.3),
            audiomentations.BandStopFilter(p=0.5),
            audiomentations.PitchShift(p=0.6),
        ]
    )
    front = KaldiFbankConfig().build()
    spectral = AugmentConfig(method="spectral").build(front)
    waveform = AugmentConfig(method="waveform").build(front)
    generator = torch.Generator().manual_seed(0)
    few = max(1, args.clips // 8)
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "published chain": (args.clips, lambda: [published_views(wave, chain, rng) for wave in waves]),
        "auricle, spectral": (args.clips, lambda: spectral(audio, 2, generator)),
        "auricle, waveform": (few, lambda: waveform(audio[:few], 2, generator)),
        "auricle, front end twice, nothing augmented": (args.clips, lambda: (front(audio), front(audio))),
    }
    for _, work in works.values():
        seconds_of(work)
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(args.rounds):
        for name, (clips, work) in works.items():
            times[name].append(1e3 * seconds_of(work) / clips)
    base = times["published chain"]
    print(f"{args.seconds:g}-s clips in batches of {args.clips}, two views a clip, one thread, {args.rounds} rounds\n")
    print("| | ms per clip (median) | clips/s | throughput over the published chain's (range) |\n|---|---|---|---|")
    for name, values in times.items():
        median = statistics.median(values)
        ratios = [b / v for b, v in zip(base, values, strict=True)]
        ratio = statistics.median(base) / median
        print(f"| {name} | {median:.2f} | {1e3 / median:.0f} | {ratio:.1f} ({min(ratios):.1f}-{max(ratios):.1f}) |")


if __name__ == "__main__":
    main()
