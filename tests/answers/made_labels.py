"""A library to label, the truth about it, and a server of its page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from toy_library import RATE

import auricle
from auricle.answers.label_log import Key, LabelLog
from auricle.answers.label_server import LabelApp, bound, server_of
from auricle.answers.label_view import LabelView
from auricle.answers.labelling import Labelling
from auricle.answers.library import Library

HERTZ = {"owl": 700.0, "fox": 1900.0}
TOKEN = "a-token-of-tests"  # noqa: S105
Truth = dict[Key, tuple[str, ...]]


def write_scenes(folder: Path, files: int = 40, seconds: int = 5, seed: int = 0) -> Truth:
    """Recordings in which each second is an owl, a fox, both or noise; returns what is in each."""
    generator = np.random.default_rng(seed)
    truth: Truth = {}
    folder.mkdir(parents=True, exist_ok=True)
    time = np.arange(RATE) / RATE
    for number in range(files):
        name, parts = f"scene {number:02d}.wav", []
        for second in range(seconds):
            there = tuple(call for call in HERTZ if generator.random() < 0.25)
            loud = generator.uniform(0.01, 0.1)
            wave = sum((np.sin(2 * np.pi * HERTZ[call] * time) for call in there), np.zeros(RATE))
            parts.append(loud * wave + generator.normal(size=RATE) * 0.02)
            truth[Key(name, float(second), float(second + 1))] = there
        soundfile.write(folder / name, np.concatenate(parts), RATE)
    return truth


def made_library(folder: Path, **settings: Any) -> tuple[Path, Truth]:
    """Index scenes in segments of one second."""
    truth = write_scenes(folder / "recordings")
    chosen = {"segment": 1.0, "progress": False} | settings
    auricle.index("toy_library:Bands", folder / "recordings", folder / "library", **chosen)
    return folder / "library", truth


def opened(library: Path, classes: tuple[str, ...] = ("owl", "fox"), **settings: Any) -> Labelling:
    return Labelling(Library.open(library), LabelLog.open(library / "labels.jsonl"), classes, **settings)


@contextmanager
def served(labelling: Labelling, export: Callable[[], list[str]] = list) -> Iterator[str]:
    """Serve the page in a thread; gives its address."""
    app = LabelApp(LabelView(labelling, 1.0, export), TOKEN)
    listening = bound(0)
    server = server_of(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/{TOKEN}/"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
