"""Adds recordings to a library and kills its own process with SIGKILL after a time.

    python killed_index.py RECORDINGS LIBRARY SECONDS

The time begins when the model is open, so that the kill comes in the middle of reading, encoding, writing or deleting.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from toy_library import Bands

import auricle
from auricle.answers import additions


class Slow(Bands):
    """Bands, with time to be killed in."""

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        time.sleep(0.004)
        return super().__call__(wave)


def main(recordings: Path, library: Path, seconds: float) -> None:
    additions._COMMIT_SECONDS = 0.02
    inside = additions.Addition.run

    def run(self: additions.Addition, *settings: object) -> object:
        threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
        return inside(self, *settings)  # type: ignore[arg-type]

    additions.Addition.run = run  # type: ignore[method-assign, assignment]
    auricle.index("killed_index:Slow", recordings, library, segment=1.0, hop=0.1, batch=1, progress=False)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
