"""The toy corpus with a caption for each clip, as a table."""

from __future__ import annotations

import csv
from pathlib import Path


def captioned(folder: Path, out: Path) -> Path:
    """Write a table of the clips below a folder with captions, and return it."""
    table = out / "captioned.csv"
    files = sorted(folder.rglob("*.wav"))
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "caption"])
        for place, path in enumerate(files):
            writer.writerow([str(path.resolve()), f"a steady tone of kind {place % 4}, number {place}"])
    return table
