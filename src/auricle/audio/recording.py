"""A recording that is open for reading, whatever decodes it."""

from __future__ import annotations

import errno
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from auricle.errors import AudioError, AuricleError, Reason, StorageError

Source = str | os.PathLike[str] | bytes

# Rates in Hz at which sound is recorded: infrasound to ultrasound. Others are damaged headers, which make resampling
# allocate gigabytes.
SLOWEST, FASTEST = 100, 1_000_000
MOST_CHANNELS = 256
# Errors of the machine, not of a recording: no space for a temporary file, no handle for another file.
SCARCE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
# Full scale is 1, and float formats may exceed it; this far beyond, squares of features overflow.
LOUDEST = 1e4
# Channels cancel if their mean has less than this share of their mean power (26 dB less; of independent channels it
# has a half).
_CANCELLED = 1 / 400
# Half the range between lowest and highest sample below which a clip is silent: it holds only dither (-80 dB).
SILENCE = 1e-4
# Values decoded at once, over all channels: memory grows with what is there, whatever a header promises.
BLOCK = 1 << 18
# Cause of a note on a file of which samples are missing.
IN_PART = "read in part"


class Recording(ABC):
    """Samples of a recording, read from any position on.

    Attributes:
        name: for messages.
        rate: sample rate in Hz.
        channels: number of channels.
        format: container or codec, such as WAV, FLAC, OGG, MP3 or AAC.
        floats: whether samples are stored as floats.
        frames: samples per channel that the header promises and the container may hold.
        promised: samples per channel that the header promises.
        notes: what is unusual about the file.
        ended: position where reading ended before it should have; None as long as it did not.
        slack: missing samples at the end that are no loss: codecs state their length in whole frames.
    """

    name: str
    rate: int
    channels: int
    format: str
    floats: bool
    frames: int
    promised: int
    notes: list[Reason]
    ended: int | None = None
    slack: int = 0

    @abstractmethod
    def blocks(self, begin: int, end: int) -> Iterator[np.ndarray]:
        """Yield samples `(n, channels)`, float32, from `begin` up to `end`; fewer if the file ends before (`ended`).

        Raises:
            AudioError: the samples can't be decoded.
        """

    @abstractmethod
    def surviving(self, begin: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield positions and samples `(n, channels)` from `begin` up to `end`, past parts that can't be decoded."""

    @abstractmethod
    def reaches(self, frame: int) -> bool:
        """Return whether a sample near the end can be read."""

    def count(self) -> int:
        """Return the samples per channel that there are, by decoding all."""
        return sum(len(block) for block in self.blocks(0, self.frames))

    def check(self) -> None:
        """Refuse a rate that nobody records at, and an absurd number of channels.

        Raises:
            AudioError: saying which.
        """
        if not SLOWEST <= self.rate <= FASTEST:
            raise AudioError(
                f"its header states a rate of {self.rate:,} Hz; expected {SLOWEST} Hz to {FASTEST:,} Hz; "
                "correct its header, or drop it from the corpus",
                self.name,
            )
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise AudioError(
                f"its header states {self.channels} channels; expected 1 to {MOST_CHANNELS}; "
                "correct its header, or drop it from the corpus",
                self.name,
            )


def cancelled(mean: float, each: float, samples: int) -> str | None:
    """Return how far channels cancel each other in their mean, in words; None where they don't.

    Args:
        mean: sum of squares of the mean of the channels.
        each: sum of squares of all channels, divided by their number.
        samples: their length.

    Examples:
        >>> cancelled(0.0, 100.0, 100)
        'cancel each other: their mean has 320 dB less power than they have'
    """
    if each <= SILENCE**2 * samples or mean >= _CANCELLED * each:
        return None
    less = 10 * math.log10(each / max(mean, 1e-30))
    return f"cancel each other: their mean has {less:.0f} dB less power than they have"


def name_of(source: Source) -> str:
    """Return what messages call a source: its path in quotes.

    Examples:
        >>> name_of("a.wav")
        "'a.wav'"
    """
    return "audio given as bytes" if isinstance(source, bytes) else repr(os.fspath(source))


@contextmanager
def guarded(source: Source) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into an error with the file's name."""
    try:
        yield
    except AuricleError:
        raise
    except MemoryError as error:
        raise too_long(source) from error
    except OSError as error:
        if error.errno in SCARCE:
            raise StorageError(
                f"{name_of(source)}: can't be read now ({error.strerror}); expected disk space and handles for more "
                "files; free some, then run it again"
            ) from error
        raise AudioError(
            f"can't be read ({error.strerror or error}); check the disk that holds it, then run it again",
            name_of(source),
        ) from error
    except Exception as error:
        raise AudioError(
            f"can't be decoded ({type(error).__name__}: {error}); copy it again from its source, or "
            "drop it from the corpus",
            name_of(source),
        ) from error


def too_long(source: Source) -> AudioError:
    """Return the error of a recording that the memory does not hold."""
    return AudioError("too long to decode into memory; cut it into shorter clips", name_of(source))
