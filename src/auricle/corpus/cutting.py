"""Long clips to short ones, as ranges: no sound is copied."""

from __future__ import annotations

from typing import Literal

import numpy as np

from auricle.corpus.table import Corpus
from auricle.errors import ConfigError


def cut(corpus: Corpus, seconds: float, hop: float, last: Literal["short", "shift", "drop"]) -> Corpus:
    """Cut clips longer than `seconds` into ranges of that length; `Corpus.cut` says how."""
    if seconds <= 0 or hop <= 0:
        raise ConfigError(f"can't cut into {seconds} s every {hop} s; both must be above 0")
    rows: list[int] = []
    starts: list[float] = []
    lengths: list[float] = []
    whole: list[bool] = []
    known = zip(corpus.column("start"), corpus.column("seconds"), corpus.column("_whole"), strict=True)
    for row, (start, total, is_whole) in enumerate(known):
        pieces = [(0.0, total)] if total <= seconds else _pieces(total, seconds, hop, last)
        rows += [row] * len(pieces)
        starts += [start + offset for offset, _ in pieces]
        lengths += [length for _, length in pieces]
        whole += [is_whole and total <= seconds] * len(pieces)
    pieces_only = corpus.select(np.asarray(rows, dtype=np.int64))
    return pieces_only.with_column("start", starts).with_column("seconds", lengths).with_column("_whole", whole)


def _pieces(total: float, seconds: float, hop: float, last: str) -> list[tuple[float, float]]:
    count = int((total - seconds) / hop + 1e-9) + 1
    pieces = [(i * hop, seconds) for i in range(count)]
    end = (count - 1) * hop + seconds
    left = total - count * hop
    if total - end > 1e-6:
        if last == "shift":
            pieces.append((total - seconds, seconds))
        elif last == "short" and left >= seconds / 10:
            pieces.append((count * hop, left))
    return pieces
