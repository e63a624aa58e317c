"""Decoded clips in memory, 16 bits a sample, so that later epochs decode nothing."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Quantised:
    """A clip as int16 times a power of two.

    The power depends on the clip's peak, so a quiet recording keeps its 15 bits, and a 16-bit recording at its own rate
    is restored exactly.

    Attributes:
        samples: `(S,)` int16.
        scale: value of a full-scale sample.
        peak: largest magnitude of the clip before quantising.
        spread: half the range between its lowest and highest sample: 0 for a constant, which is silence, too.
    """

    samples: np.ndarray
    scale: float
    peak: float
    spread: float

    @classmethod
    def of(cls, wave: np.ndarray) -> Quantised:
        """Quantise a float32 clip `(S,)`."""
        lowest, highest = (float(wave.min()), float(wave.max())) if len(wave) else (0.0, 0.0)
        peak = max(highest, -lowest)
        scale = 2.0 ** math.ceil(math.log2(peak)) if peak > 1e-30 else 1.0
        if round(peak / scale * 32768) > 32767:
            scale *= 2
        return cls(np.rint(wave * np.float32(32768 / scale)).astype(np.int16), scale, peak, (highest - lowest) / 2)

    def restore(self, begin: int = 0, end: int | None = None) -> np.ndarray:
        """Return the clip, or a range of its samples, as float32."""
        return self.samples[begin:end] * np.float32(self.scale / 32768)


class DecodedCache:
    """Keeps clips until its memory is full, and no others after that.

    Epochs visit every clip once in random order: every clip is equally likely to come next, so that replacing one by
    another gains nothing.
    """

    def __init__(self, limit: int) -> None:
        """Make an empty cache of at most `limit` bytes."""
        self.limit = limit
        self.bytes = 0
        self._clips: dict[int, Quantised] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._clips)

    def get(self, index: int) -> Quantised | None:
        """Return a clip if it is cached."""
        return self._clips.get(index)

    def put(self, index: int, clip: Quantised) -> None:
        """Keep a clip if there is room."""
        with self._lock:
            if index not in self._clips and self.bytes + clip.samples.nbytes <= self.limit:
                self._clips[index] = clip
                self.bytes += clip.samples.nbytes
