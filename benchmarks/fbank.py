"""Throughput of the Kaldi filter bank beside kaldi-native-fbank's: `python benchmarks/fbank.py`.

Both take the same 10-s clips to raw log-mel features on one thread, in turns within one run; the ratio of the medians
is what counts, the milliseconds belong to the machine and to what else it does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import kaldi_native_fbank
import numpy as np
import torch

from auricle.audio import Audio, KaldiFbankConfig, LogMelConfig, SpectralFrontEnd

RATE = 16000


def native(options: kaldi_native_fbank.FbankOptions, waves: list[np.ndarray]) -> np.ndarray:
    """Take clips through kaldi-native-fbank, and its frames into one array as any user must."""
    out = []
    for wave in waves:
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(RATE, wave)
        fbank.input_finished()
        out.append(np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)]))
    return np.stack(out)


def native_without_copy(options: kaldi_native_fbank.FbankOptions, waves: list[np.ndarray]) -> None:
    """Take clips through kaldi-native-fbank and leave the frames inside it."""
    for wave in waves:
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(RATE, wave)
        fbank.input_finished()


def seconds(run: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=32, help="clips in a batch")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    parser.add_argument("--repeats", type=int, default=9, help="batches; the median counts")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    shape = (arguments.clips, round(arguments.seconds * RATE))
    wave = (np.random.default_rng(0).standard_normal(shape) * 0.1).astype(np.float32)
    wave -= wave.mean(1, keepdims=True)
    waves = list(wave)
    audio = Audio(torch.from_numpy(wave), torch.full((shape[0],), shape[1]), RATE)
    gradients = Audio(audio.wave.clone().requires_grad_(), audio.lengths, RATE)
    ours: SpectralFrontEnd = KaldiFbankConfig().build()
    log_mel: SpectralFrontEnd = LogMelConfig().build()

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hanning"
    options.mel_opts.num_bins = 128
    options.use_energy = False
    options.energy_floor = 0.0

    runs: dict[str, Callable[[], object]] = {
        "kaldi-native-fbank": lambda: native(options, waves),
        "kaldi-native-fbank, frames left inside": lambda: native_without_copy(options, waves),
        "auricle": lambda: ours.raw(audio),
        "auricle, normalised": lambda: ours(audio),
        "auricle, with gradients (batch at once)": lambda: ours(gradients),
        "auricle log-mel (1024, 64 bands)": lambda: log_mel(audio),
    }
    difference = np.abs(native(options, waves) - ours.raw(audio).x.numpy()).max()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.repeats):
        for name, run in runs.items():
            taken[name].append(seconds(run))
    median = {name: statistics.median(times) / arguments.clips for name, times in taken.items()}
    reference = median["kaldi-native-fbank"]

    print(f"{arguments.clips} clips of {arguments.seconds:g} s, one thread, median of {arguments.repeats} batches")
    print(f"largest difference from kaldi-native-fbank: {difference:.1e}")
    for name, value in median.items():
        print(f"{name:42s} {1e3 * value:7.2f} ms a clip   {reference / value:5.1f} x")
    inside = median["kaldi-native-fbank, frames left inside"] / median["auricle"]
    print(f"ratio: {reference / median['auricle']:.1f} (goal 4); with its frames left inside: {inside:.1f}")


if __name__ == "__main__":
    main()
