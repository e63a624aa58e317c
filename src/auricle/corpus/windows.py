"""How a clip of any length becomes a training window of a fixed one.

Over half of an everyday corpus can be shorter than the window. Zero-padded, such clips teach an encoder mostly where
the padding begins; repeated until the window is full, they teach it the sound. So `repeat` is the default, and
`padding_warning` speaks up where a corpus would be mostly padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from auricle.config import Config
from auricle.errors import ConfigError

if TYPE_CHECKING:
    from auricle.corpus.table import Corpus

ShortPolicy = Literal["repeat", "pad"]
CropPolicy = Literal["random", "energy", "centre", "start"]

# A crop this far under full scale shows nothing but dither: two views of it are equal to those of any other such crop.
SILENCE_DB = -80.0


@dataclass(frozen=True)
class WindowConfig(Config):
    """What an encoder sees of a clip in training.

    Attributes:
        seconds: length of the window; with `variable`, the longest.
        short: what fills the window of a shorter clip: `repeat` tiles the clip from its start, `pad` leaves zeros at
            the end and says so in the lengths.
        crop: which part of a longer clip: `random` (uniform, drawn again up to `tries` times while it is silent),
            `energy` (of `candidates` random places one is drawn with probability by its mean square), `centre`,
            `start`.
        candidates: places that `energy` weighs.
        tries: draws of `random` before a silent crop is accepted.
        variable: clips keep their own length up to `seconds` and a batch is as long as its longest; use length buckets
            (`LoaderConfig.buckets`) with it. `short` then has no meaning.
    """

    seconds: float = 5.12
    short: ShortPolicy = "repeat"
    crop: CropPolicy = "random"
    candidates: int = 8
    tries: int = 4
    variable: bool = False

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ConfigError(f"window.seconds is {self.seconds}; expected a length above 0 s")
        for name, known in (("short", ("repeat", "pad")), ("crop", ("random", "energy", "centre", "start"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"window.{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}")
        for name in ("candidates", "tries"):
            if getattr(self, name) < 1:
                raise ConfigError(f"window.{name} is {getattr(self, name)}; expected at least 1")

    def samples(self, rate: int) -> int:
        """Return the window's length in samples at `rate` Hz."""
        return max(1, round(self.seconds * rate))


def _mean_square(wave: np.ndarray, starts: np.ndarray, samples: int) -> np.ndarray:
    """Mean square of the windows at `starts`, from one running sum in float64."""
    total = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    return (total[starts + samples] - total[starts]) / samples


def crop_start(wave: np.ndarray, samples: int, window: WindowConfig, generator: np.random.Generator) -> int:
    """Choose where a window of `samples` begins in a longer clip `(S,)`."""
    room = len(wave) - samples
    if window.crop == "start":
        return 0
    if window.crop == "centre":
        return room // 2
    if window.crop == "energy":
        starts = generator.integers(0, room + 1, size=window.candidates)
        weight = _mean_square(wave, starts, samples)
        # A floor keeps the choice defined on digital silence and never excludes a quiet place altogether.
        weight = weight + 1e-10 + 1e-3 * weight.max()
        return int(generator.choice(starts, p=weight / weight.sum()))
    starts = generator.integers(0, room + 1, size=window.tries)
    floor = 10 ** (SILENCE_DB / 10)
    for start in starts:
        part = wave[start : start + samples]
        if float(np.dot(part, part)) > floor * samples:
            return int(start)
    return int(starts[0])


def fill(
    wave: np.ndarray, samples: int, window: WindowConfig, generator: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Turn a clip `(S,)` into a window of `samples`.

    The same number of random draws is made for a given clip length and window, whatever the clip sounds like.

    Args:
        wave: mono clip, float32, at least one sample.
        samples: length of the window.
        window: policies for short and for long clips.
        generator: makes every random choice.

    Returns:
        The window, float32 `(samples,)` (shorter with `variable` where the clip is), and how many of its samples are
        valid: all of them unless a short clip was padded.
    """
    if len(wave) > samples:
        start = crop_start(wave, samples, window, generator)
        return wave[start : start + samples], samples
    if len(wave) == samples or window.variable:
        return wave, len(wave)
    out = np.zeros(samples, dtype=np.float32)
    if window.short == "pad":
        out[: len(wave)] = wave
        return out, len(wave)
    repeats = -(-samples // len(wave))
    out[:] = np.tile(wave, repeats)[:samples]
    return out, samples


def padding_share(corpus: Corpus, window: WindowConfig) -> float:
    """Return the share (0 ... 1) of what an encoder would see that is padding, from the table's durations.

    With `variable` windows it is the share in a batch of all clips, that is without length buckets.
    """
    seconds = np.minimum(np.asarray(corpus.column("seconds"), dtype=np.float64), window.seconds)
    if not len(seconds):
        return 0.0
    if window.variable:
        return float(1 - seconds.mean() / max(seconds.max(), 1e-9))
    return 0.0 if window.short == "repeat" else float(1 - seconds.mean() / window.seconds)


def padding_warning(
    corpus: Corpus, window: WindowConfig, limit: float = 0.5, *, share: float | None = None
) -> str | None:
    """Return a warning where more than `limit` of what an encoder would see is padding, else None.

    Args:
        corpus: the clips.
        window: how they become windows.
        limit: share from which on to warn.
        share: the padding's share where it is known better (`Loader.padding` knows of buckets); None: `padding_share`.
    """
    share = padding_share(corpus, window) if share is None else share
    if share <= limit:
        return None
    remedy = "set loader.buckets to 4 or more" if window.variable else "set window.short to repeat"
    return (
        f"{share:.0%} of what the encoder would see of {corpus.name} is padding (windows of {window.seconds:g} s, "
        f"clips of {np.median(corpus.column('seconds')):.2g} s in the median): it would learn where padding begins; "
        f"{remedy}, or shorten window.seconds"
    )
