"""Sounds with captions: Clotho."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import columns_of, read_rows

_CLOTHO = {"development": "train", "validation": "valid", "evaluation": "test"}


def _clotho(root: Path) -> Content:
    """Five captions a clip, in the columns `caption_1` to `caption_5`."""
    made: list[dict[str, Any]] = []
    names = [f"caption_{i}" for i in range(1, 6)]
    for folder, split in _CLOTHO.items():
        path = root / f"clotho_captions_{folder}.csv"
        if folder == "validation" and not path.is_file():
            continue  # version 1 has none
        for row in read_rows(path, ("file_name", *names)):
            made.append({"file": f"{folder}/{row['file_name']}", "split": split} | {n: row[n] or None for n in names})
    return Content(columns_of(made))


LAYOUTS = (
    Layout(
        "clotho",
        "Clotho",
        ("clotho_captions_development.csv", "clotho_captions_evaluation.csv", "development", "evaluation"),
        _clotho,
    ),
)
