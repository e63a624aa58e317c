"""Small recordings, and a server for downloads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from download_server import Server


@pytest.fixture
def record() -> Callable[..., Path]:
    """Write a recording: noise from a seed (or the given samples) at a rate, in the format of its suffix."""

    def write(
        path: Path,
        wave: np.ndarray | None = None,
        *,
        seconds: float = 0.5,
        rate: int = 16000,
        seed: int = 0,
        level: float = 0.1,
        **how: str,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if wave is None:
            noise = np.random.default_rng(seed).standard_normal(round(seconds * rate)).clip(-3, 3)
            # Integers: formats round floats in different ways.
            wave = np.clip(level * noise * 32767, -32768, 32767).astype(np.int16)
        sf.write(path, wave, rate, **how)
        return path

    return write


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()
