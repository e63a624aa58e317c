"""Small folders of tones, good and bad, that the tests of bad input are about."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
PITCH = {"a": 400.0, "b": 1600.0, "c": 5200.0}


def tone(pitch: float, seconds: float = 0.7, rate: int = RATE, seed: int = 0, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(time))
    return (level * np.sin(2 * np.pi * pitch * time) + noise).astype(np.float32)


def write_tones(folder: Path, classes: int = 2, clips: int = 12) -> Path:
    for number in range(classes):
        (folder / f"class{number}").mkdir(parents=True, exist_ok=True)
        for clip in range(clips):
            wave = tone(200.0 * 4**number + 10 * clip, seed=100 * number + clip)
            soundfile.write(folder / f"class{number}" / f"good{clip}.wav", wave, RATE)
    return folder


def cut(path: Path, keep: float) -> None:
    """Keep this share of a file's bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def clips(folder: Path, rows: Sequence[tuple[str, str]], column: str = "split", loud: Sequence[int] = ()) -> Path:
    """Write a clip for each (label, cell of the column); the labels of a clip are joined with `;`."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for i, (labels, cell) in enumerate(rows):
        parts = [tone(PITCH[name], 0.5, seed=i, level=0.25) for name in labels.split(";") if name]
        parts = parts or [tone(90, 0.5, seed=i)]
        wave = np.sum(parts, axis=0)
        soundfile.write(folder / f"{i:02d}.wav", wave * (0.95 / np.abs(wave).max()) if i in loud else wave, RATE)
        listed.append((f"{i:02d}.wav", labels, cell))
    table(folder / "metadata.csv", ("file", "label", column), listed)
    return folder


def sides(labels: str, train: int, valid: int, test: int) -> list[tuple[str, str]]:
    """List this number of clips of each one-letter label on each side."""
    sides = [("train", train), ("valid", valid), ("test", test)]
    return [(label, side) for side, count in sides for label in labels for _ in range(count)]
