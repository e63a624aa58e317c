"""The encoders that every contract test runs on. A family adds a file `cases_<family>.py` with a dict `CASES`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.contract import Encoder

PAD = 0.46875  # the same number in every precision


@dataclass(frozen=True)
class Case:
    """A small encoder and what the tests must know of it.

    Attributes:
        build: makes it with fresh weights.
        longest: frames (or samples) of a full test clip.
        lengths: shorter ones, which give at least one token each.
        grid: from an input length to (time, freq) tokens, from the published formula and not from the encoder.
        local: tokens before context see their own stretch of the input only (patches): (frames, bands) of a token.
        low_precision: cosine between the bfloat16 and the float32 clip vector that must be reached.
        unused: parameters that rightly get no gradient (a mask vector that an objective fills in, say).
    """

    build: Callable[[], Encoder]
    longest: int = 160
    lengths: tuple[int, ...] = (100, 33, 32, 31, 17, 16, 5, 1)
    grid: Callable[[int], tuple[int, int]] | None = None
    local: tuple[int, int] | None = None
    low_precision: float = 0.99
    unused: frozenset[str] = frozenset()


def batch(
    encoder: Encoder, lengths: list[int], longest: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Features:
    """Return clips of these lengths, each drawn by itself, padded to `longest`."""
    pad = 0.0 if encoder.bands is None else PAD
    clips = []
    for i, length in enumerate(lengths):
        shape = (length,) if encoder.bands is None else (length, encoder.bands or 32)
        clip = torch.randn(shape, generator=torch.Generator().manual_seed(seed + i))
        room: Tensor = torch.full((longest, *shape[1:]), pad)
        room[:length] = clip
        clips.append(room)
    return Features(torch.stack(clips).to(dtype), torch.tensor(lengths), encoder.input_rate, pad)


def cases() -> dict[str, Case]:
    """Return the cases of all families, by name."""
    found: dict[str, Case] = {}
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        for name, case in importlib.import_module(path.stem).CASES.items():
            assert name not in found, f"two cases are called {name}"
            found[name] = case
    return found
