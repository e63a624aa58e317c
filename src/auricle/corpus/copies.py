"""Clips that are copies of each other: equal bytes, equal samples, or the same sound encoded again.

Near copies are found in two steps. A signature of each clip (mean and spread of 32 bands in dB, free of its level)
names candidates of about the same length; a candidate is a copy if the waveforms, aligned by their cross-correlation,
are coherent in all bands that sound. Changes of level, polarity, sample rate and format are found, and delays up to
0.3 s; other speeds, mixtures, and parts of a longer clip are not. Error rates: `benchmarks/reliability/leaks.md`.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from auricle.corpus.columns import reading_of
from auricle.corpus.content import clip_keys, kept_facts
from auricle.corpus.losses import silence
from auricle.corpus.stores import Place
from auricle.corpus.table import Corpus
from auricle.errors import AudioError, Reason

Kind = Literal["bytes", "samples", "near"]
KINDS: tuple[Kind, ...] = ("bytes", "samples", "near")
RATE = 8000
# Of a longer clip this much is compared for near copies; all of it for equal samples.
_SECONDS, _PIECE = 10.0, 120.0
_FRAME, _HOP, _BANDS = 512, 256, 32
_EDGES, _COARSE = np.geomspace(100.0, 3700.0, _BANDS + 1), np.geomspace(100.0, 3700.0, 13)
# Verified thresholds, see `benchmarks/reliability/leaks.py`. A sound of few degrees of freedom (a single tone) is like
# others of its pitch by nature and must agree better.
NEAR_DB, CANDIDATES, COHERENT, TONAL, TONAL_COHERENT = 2.0, 5, 0.94, 80.0, 0.97
_DELAY, _PART = 0.3, 1024
_EQUAL = 50
# Of more clips, near copies are not searched: the time grows with the square. Distances in memory at once.
MOST_NEAR, _CELLS = 20_000, 1 << 22
# Bytes of decoded clips that are held, and of their spectra.
_HELD = 1 << 28


@dataclass(frozen=True)
class Copy:
    """Two rows of a corpus, the first of them smaller, and how they agree."""

    first: int
    second: int
    kind: Kind


@dataclass(frozen=True)
class _Sound:
    """Of a clip: digest of its samples, seconds, spread (see `losses.silence`), and for near copies its signature.

    The signature is `(64,)`, with the degrees of freedom; 0: silent, or too short.
    """

    samples: bytes
    seconds: float
    spread: float
    freedom: float
    signature: NDArray[np.float32]

    def pack(self) -> bytes:
        numbers = [self.seconds, self.spread, self.freedom, *self.signature]
        return self.samples + np.array(numbers, dtype="<f4").tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> _Sound:
        numbers = np.frombuffer(data[16:], dtype="<f4")
        return cls(data[:16], float(numbers[0]), float(numbers[1]), float(numbers[2]), numbers[3:])


def _sounds(corpus: Corpus, rows: Sequence[int], keys: Sequence[bytes], progress: bool) -> dict[int, _Sound]:
    wanted = list(dict.fromkeys(keys[row] for row in rows if keys[row]))
    row_of = {keys[row]: row for row in reversed(rows)}
    facts = kept_facts("sound-4", wanted, lambda new: _measure(corpus, [row_of[key] for key in new], progress))
    return {row: _Sound.unpack(facts[keys[row]]) for row in rows if facts.get(keys[row])}


def silent_rows(corpus: Corpus, rows: Sequence[int]) -> dict[int, Reason]:
    """Return those of some rows of a corpus that are silent -> the remark; remembered as for `find_copies`."""
    found = ((row, silence(sound.spread)) for row, sound in _sounds(corpus, rows, clip_keys(corpus), False).items())
    return {row: said for row, said in found if said is not None}


def find_copies(
    corpus: Corpus,
    rows: Sequence[int] | NDArray[np.int64],
    *,
    sides: NDArray[np.bool_] | None = None,
    progress: bool = False,
) -> list[Copy]:
    """Find the pairs of clips that are copies of each other.

    What is computed of a clip, and what is found among clips, is remembered by their content: only new clips are
    decoded, and the same clips are compared once. Clips that can't be read are in no pair; silent clips are compared by
    bytes and samples only, and so are more than 20,000 clips (`MOST_NEAR`). Each of more than 50 equal clips is paired
    with the first 50, of them and of their near copies.

    Args:
        corpus: the clips.
        rows: rows of the corpus to compare.
        sides: `(n,)` of these rows: only pairs of clips on different sides are wanted; None: all pairs.
        progress: show a progress bar.
    """
    chosen = [int(row) for row in rows]
    keys = clip_keys(corpus)
    side = dict(zip(chosen, sides.tolist(), strict=True)) if sides is not None else {}
    limits = (MOST_NEAR, _EQUAL, NEAR_DB, CANDIDATES, COHERENT, TONAL, TONAL_COHERENT, list(side.values()))
    digest = hashlib.blake2b(repr(limits).encode(), digest_size=16)
    digest.update(b"".join(keys[row] or bytes(16) for row in chosen))
    place = {row: number for number, row in enumerate(chosen)}
    found: list[Copy] = []

    def search(_: list[bytes]) -> list[bytes]:
        copies, whole = _search(corpus, chosen, keys, side, progress)
        found.extend(copies)
        numbers = [(place[c.first], place[c.second], KINDS.index(c.kind)) for c in found]
        # A clip that could not be decoded may be, where an extra is installed.
        return [b"+" + np.array(numbers, dtype="<i4").tobytes() if whole else b""]

    (held,) = kept_facts("copies-2", [digest.digest()], search).values()
    if held and not found:
        table = np.frombuffer(held[1:], dtype="<i4").reshape(-1, 3).tolist()
        found += [Copy(chosen[first], chosen[second], KINDS[kind]) for first, second, kind in table]
    return found


def _search(
    corpus: Corpus, chosen: list[int], keys: Sequence[bytes], side: dict[int, bool], progress: bool
) -> tuple[list[Copy], bool]:
    """Return the copies in order, and whether every clip could be decoded."""
    known = _sounds(corpus, chosen, keys, progress)
    groups: dict[bytes, list[int]] = {}
    for row, sound in known.items():
        groups.setdefault(sound.samples, []).append(row)
    found: list[Copy] = []

    def pair(first: int, second: int, kind: Kind) -> None:
        if not side or side[first] != side[second]:
            found.append(Copy(min(first, second), max(first, second), kind))

    for group in groups.values():
        for i, second in enumerate(group[1:], 1):
            for first in group[: min(i, _EQUAL)]:
                pair(first, second, "bytes" if keys[first] == keys[second] else "samples")
    firsts = [group[0] for group in groups.values()] if len(chosen) <= MOST_NEAR else []
    members = {group[0]: group for group in groups.values()}
    # A bit for each side of which a group has a clip; without sides each group has both.
    both = np.array([sum(1 << s for s in {int(side[row]) for row in members[f]}) if side else 3 for f in firsts])
    for a, b in _near(corpus, firsts, [known[row] for row in firsts], both, progress):
        few = {(x, y) for x in members[a] for y in members[b][:_EQUAL]}
        for x, y in few | {(x, y) for x in members[a][:_EQUAL] for y in members[b]}:
            pair(x, y, "near")
    return sorted(found, key=lambda copy: (copy.first, copy.second)), len(known) == len(chosen)


def coherence(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return how far two clips `(S,)` at 8 kHz are one waveform, up to level, polarity and a delay: at most 1.

    The coherence of both at the delay that fits best, as a mean over those of 12 bands that sound in either, and as a
    mean over those parts of 128 ms that sound in either; the smaller of both. Two strokes of one key agree in all bands
    at their onset, and not later.
    """
    size = _size(a, b)
    return _coherence(_spectrum(a, size), _spectrum(b, size), len(a))


def _size(a: NDArray[np.float32], b: NDArray[np.float32]) -> int:
    return 1 << int(np.ceil(np.log2(len(a) + len(b))))


def _spectrum(wave: NDArray[np.float32], size: int) -> NDArray[Any]:
    spectrum = scipy.fft.rfft(wave, size)
    spectrum[: int(_EDGES[0] * size / RATE)] = 0
    spectrum[int(_EDGES[-1] * size / RATE) :] = 0
    return spectrum


def _coherence(a: NDArray[Any], b: NDArray[Any], length: int) -> float:
    size, most = 2 * (len(a) - 1), int(_DELAY * RATE)
    cross = a * b.conj()
    lags = scipy.fft.irfft(cross, size)
    lags = np.concatenate([lags[-most:], lags[:most]])
    at = int(np.abs(lags).argmax())
    whole = float(
        abs(lags[at]) * size / 2 / np.sqrt(float((np.abs(a) ** 2).sum()) * float((np.abs(b) ** 2).sum()) + 1e-30)
    )
    if whole < 0.5:  # unlike clips need no finer look
        return whole
    hertz = np.arange(len(cross)) * (RATE / size)
    band, sign = np.clip(np.digitize(hertz, _COARSE) - 1, 0, _COARSE.size - 2), np.sign(lags[at])
    energy = [np.bincount(band, np.abs(x) ** 2) for x in (a, b)]

    def agree(lag: float) -> float:
        real = np.bincount(band, sign * (cross * np.exp(2j * np.pi * lag / RATE * hertz)).real)
        return _mean_agreement(real, energy[0], energy[1], 1e-3)

    # Resampling delays by parts of a sample.
    best, lag = max((agree(at - most + part / 8), at - most + part / 8) for part in range(-8, 9))
    aligned = b * np.exp(-2j * np.pi * lag / RATE * hertz) * sign
    waves = [scipy.fft.irfft(x, size)[:length] for x in (a, aligned)]
    part = np.arange(length) // _PART
    cross, *each = (np.bincount(part, x * y) for x, y in ((waves[0], waves[1]), (waves[0],) * 2, (waves[1],) * 2))
    return min(best, _mean_agreement(cross, each[0], each[1], 1e-4))


def _mean_agreement(cross: NDArray[Any], a: NDArray[Any], b: NDArray[Any], least: float) -> float:
    """Return the mean of `cross / sqrt(a b)` where either has at least this share of its largest energy."""
    sounding = (a > least * a.max()) | (b > least * b.max())
    return float((cross / np.sqrt(a * b + 1e-30))[sounding].mean())


def _near(
    corpus: Corpus, rows: list[int], sounds: list[_Sound], sides: NDArray[np.int64], progress: bool
) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows that are near copies, each once; of two rows on one and the same side only, none."""
    sounding = sorted((i for i, sound in enumerate(sounds) if sound.freedom > 0), key=lambda i: sounds[i].seconds)
    if len(sounding) < 2:
        return
    signatures = np.stack([sounds[i].signature for i in sounding])
    seconds = np.array([sounds[i].seconds for i in sounding])
    square, sides = (signatures**2).sum(1), sides[sounding]
    # A clip is a candidate of several others: as many are held as fit. A spectrum is four times as large as its wave.
    room = int(_HELD / (4 * RATE * min(_SECONDS, max(float(seconds[-1]), 0.1))))
    wave = lru_cache(max(64, room))(lambda row: _wave(corpus, row))
    spectrum = lru_cache(max(64, room // 4))(lambda row, size: _spectrum(wave(row), size))
    tried: set[tuple[int, int]] = set()
    block = min(512, max(1, _CELLS // len(sounding)))
    blocks = range(0, len(sounding), block)
    label = f"comparing clips of {corpus.name}"
    for start in track(blocks, label, console=Console(stderr=True), disable=not progress or len(blocks) < 2):
        part = slice(start, min(start + block, len(sounding)))
        # Sorted by length: only these can be about as long as one of the block, `far` says which are.
        low, high = np.searchsorted(seconds, [(seconds[start] - 0.2) / 1.02, (seconds[part.stop - 1] + 0.2) / 0.98])
        those = slice(int(low), int(high))
        gap = square[part, None] + square[those] - 2 * signatures[part] @ signatures[those].T
        far = np.abs(seconds[part, None] - seconds[those]) > 0.15 + 0.02 * seconds[those]
        far |= (sides[part, None] | sides[those]) != 3
        distance = np.where(far, np.inf, np.sqrt(gap.clip(0) / signatures.shape[1]))
        itself = np.arange(len(distance))
        distance[itself, start - those.start + itself] = np.inf
        few_near = min(CANDIDATES, distance.shape[1])
        for i, near in enumerate(np.argpartition(distance, few_near - 1, axis=1)[:, :few_near], start):
            for j in near.tolist():
                # In the order of the rows, whichever is shorter.
                other = sounding[those.start + j]
                pair = (min(sounding[i], other), max(sounding[i], other))
                if distance[i - start, j] > NEAR_DB or pair in tried:
                    continue
                tried.add(pair)
                a, b = pair
                few = min(sounds[a].freedom, sounds[b].freedom) < TONAL
                found = [wave(rows[place]) for place in pair]
                size = _size(*found)
                alike = _coherence(spectrum(rows[a], size), spectrum(rows[b], size), len(found[0]))
                if alike >= (TONAL_COHERENT if few else COHERENT):
                    yield rows[a], rows[b]


def _wave(corpus: Corpus, row: int) -> NDArray[np.float32]:
    try:
        return corpus.audio(row, RATE, seconds=_SECONDS)
    except AudioError:  # it was decoded when it was measured: it has gone since
        return np.zeros(_FRAME, dtype=np.float32)


def _measure(corpus: Corpus, rows: list[int], progress: bool) -> list[bytes]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        sounds = pool.map(lambda row: _sound(corpus, row), rows)
        label = f"looking for copies in {corpus.name}"
        shown = track(sounds, label, len(rows), console=Console(stderr=True), disable=not progress)
        return [b"" if sound is None else sound.pack() for sound in shown]


def _sound(corpus: Corpus, row: int) -> _Sound | None:
    place = corpus.table.slice(row, 1).to_pylist()[0]
    digest, samples, lowest, highest = hashlib.blake2b(digest_size=16), 0, math.inf, -math.inf
    head: NDArray[np.float32] | None = None
    try:
        info = corpus.stores[place["_store"]].probe(Place(place["_key"], place["_offset"], place["_size"]))
        digest.update(str(info.rate).encode())
        # `audio` counts rates after the time expansion; these samples are the recording's own.
        rate = info.rate / reading_of(place)[1]
        length = info.seconds if place["_whole"] else place["seconds"]
        # Short clips are read at once: in formats that can't seek exactly only a whole read is exact.
        for start in np.arange(0.0, length, _PIECE) if length > 2 * _PIECE else (0.0,):
            more = start + _PIECE < length and length > 2 * _PIECE
            wave = corpus.audio(row, rate, start=float(start), seconds=_PIECE if more else None)
            digest.update(np.rint(np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes())
            samples += len(wave)
            lowest, highest = min(lowest, float(wave.min())), max(highest, float(wave.max()))
            head = wave[: int(_SECONDS * info.rate)] if head is None else head
    except AudioError:
        return None
    if head is None:
        return None
    low = head if rate == RATE else soxr.resample(head, rate, RATE, quality="HQ")
    known = (digest.digest(), samples / info.rate, (highest - lowest) / 2)
    if silence(known[2]) is not None or len(low) < _FRAME:
        return _Sound(*known, 0.0, np.zeros(2 * _BANDS, dtype=np.float32))
    return _Sound(*known, _freedom(low), _signature(low))


def _signature(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean (free of the clip's level) and spread of each band in dB, `(64,)`."""
    padded = np.pad(wave, _FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP] * np.hanning(_FRAME)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 @ _band_weights()
    level = 10 * np.log10(power + 1e-12)
    level = np.maximum(level, level.max() - 50)
    mean = level.mean(0)
    return np.concatenate([mean - mean.mean(), level.std(0)]).astype(np.float32)


@lru_cache(1)
def _band_weights() -> NDArray[np.float64]:
    hertz = np.fft.rfftfreq(_FRAME, 1 / RATE)
    weights = ((hertz[:, None] >= _EDGES[:-1]) & (hertz[:, None] < _EDGES[1:])).astype(np.float64)
    # The lowest bands are narrower than a bin and take the nearest.
    for band in np.flatnonzero(weights.sum(0) == 0):
        weights[np.abs(hertz - np.sqrt(_EDGES[band] * _EDGES[band + 1])).argmin(), band] = 1
    return weights / weights.sum(0)


def _freedom(wave: NDArray[np.float32]) -> float:
    """Return the number of frequencies among which a clip's energy is spread (the exponential of its entropy)."""
    hertz = np.fft.rfftfreq(len(wave), 1 / RATE)
    power = np.abs(np.fft.rfft(wave))[(hertz > _EDGES[0]) & (hertz < _EDGES[-1])].astype(np.float64) ** 2
    share = power / max(power.sum(), 1e-30)
    return float(np.exp(-(share * np.log(share + 1e-30)).sum()))
