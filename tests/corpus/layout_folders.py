"""Folders in publishers' layouts, with short recordings, and the check that they open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from auricle.corpus.published.layouts.opening import LAYOUTS, recognise
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus

RATE = 4000


def put(root: Path, *files: str, seconds: float = 0.1) -> None:
    """Write a short tone for each name; pitches follow the order of names."""
    for i, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * RATE)) / RATE
        sf.write(root / file, 0.3 * np.sin(2 * np.pi * (300 + 50 * i) * time), RATE, format="WAV")


def text(root: Path, file: str, *lines: str) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def columns(corpus: Corpus, *names: str) -> dict[str, tuple]:
    """Return file -> the values of the named columns."""
    values = zip(*(corpus.column(name) for name in names), strict=True)
    return dict(zip(corpus.column("file"), values, strict=True))


def opened(root: Path, name: str) -> Corpus:
    """Open by name; check that the folder is recognised and that every clip can be decoded."""
    corpus = open_corpus(f"layout:{name}:{root}")
    found = recognise(root)
    assert (found.name if found else None) == (name if LAYOUTS[name].known_by_marks else None)
    if found:
        assert open_corpus(root).fingerprint == corpus.fingerprint
    assert corpus.name == name
    assert corpus.notes[0] == f"read as {LAYOUTS[name].title} is published"
    for clip in corpus:
        assert len(corpus.audio(clip.index, RATE)) == pytest.approx(clip.seconds * RATE, abs=2)
    return corpus
