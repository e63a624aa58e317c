"""Training windows of a fixed length from clips of any length.

Over half of an everyday corpus can be shorter than the window. From zero-padded clips an encoder learns mostly where
the padding begins, so `repeat` is the default, and `padding_warning` warns of a corpus that would be mostly padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from auricle.audio.recording import SILENCE
from auricle.config import Config, Count, Positive
from auricle.corpus.table import Corpus


@dataclass(frozen=True)
class WindowConfig(Config):
    """The window of a clip in training.

    Attributes:
        seconds: length of the window; with `variable`, the longest.
        short: how a shorter clip fills the window: `repeat` tiles the clip from its start, `pad` appends zeros, which
            the lengths exclude.
        crop: part of a longer clip: `random` (uniform, drawn again up to `tries` times while silent), `energy` (one of
            `candidates` random positions, with probability by its mean square), `centre`, `start`.
        candidates: positions that `energy` draws from.
        tries: draws of `random` before a silent crop is accepted.
        variable: keep the length of clips up to `seconds`; a batch is as long as its longest clip. Combine with length
            buckets (`--loader.buckets`). `short` is then not used.
    """

    seconds: Positive = 5.12
    short: Literal["repeat", "pad"] = "repeat"
    crop: Literal["random", "energy", "centre", "start"] = "random"
    candidates: Count = 8
    tries: Count = 4
    variable: bool = False

    def samples(self, rate: int) -> int:
        """Return the window's length in samples at `rate` Hz."""
        return max(1, round(self.seconds * rate))


def _mean_square(wave: np.ndarray, starts: np.ndarray, samples: int) -> np.ndarray:
    """Return the mean square of the windows at `starts`, from one running sum in float64."""
    total = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    return (total[starts + samples] - total[starts]) / samples


def crop_start(wave: np.ndarray, samples: int, window: WindowConfig, generator: np.random.Generator) -> int:
    """Draw the start of a window of `samples` in a longer clip `(S,)`."""
    room = len(wave) - samples
    if window.crop == "start":
        return 0
    if window.crop == "centre":
        return room // 2
    if window.crop == "energy":
        starts = generator.integers(0, room + 1, size=window.candidates)
        weight = _mean_square(wave, starts, samples)
        # A floor keeps the draw defined on digital silence and excludes no quiet position.
        weight = weight + 1e-10 + 1e-3 * weight.max()
        return int(generator.choice(starts, p=weight / weight.sum()))
    starts = generator.integers(0, room + 1, size=window.tries)
    for start in starts:
        part = wave[start : start + samples]
        # Without its mean: a dead microphone's constant is silence.
        if float(np.dot(part, part)) - samples * float(part.mean()) ** 2 > SILENCE**2 * samples:
            return int(start)
    return int(starts[0])


def fill(
    wave: np.ndarray, samples: int, window: WindowConfig, generator: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Turn a clip `(S,)` into a window of `samples`.

    The number of random draws depends on the clip's length and the window only.

    Args:
        wave: mono clip, float32, at least one sample.
        samples: length of the window.
        window: policies for short and for long clips.
        generator: of all random choices.

    Returns:
        The window, float32 `(samples,)` (shorter with `variable` if the clip is), and its number of valid samples: all
        unless a short clip was padded.
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
    """Return the share (0 ... 1) of padding in windows, from the table's durations.

    With `variable` windows: the share in one batch of all clips, without length buckets.
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
    """Return a warning if more than `limit` of an encoder's input would be padding, otherwise None.

    Args:
        corpus: the clips.
        window: settings of windows.
        limit: greatest share without a warning.
        share: share of padding if known (from `Loader.padding`, which includes buckets); None: `padding_share`.
    """
    share = padding_share(corpus, window) if share is None else share
    if share <= limit:
        return None
    remedy = "set loader.buckets to 4 or more" if window.variable else "set window.short to repeat"
    return (
        f"{share:.0%} of the encoder's input from {corpus.name} would be padding (windows of {window.seconds:g} s, "
        f"clips of {np.median(corpus.column('seconds')):.2g} s in the median): the encoder would learn where "
        f"padding begins; {remedy}, or shorten window.seconds"
    )
