"""Labelled clips as training batches, cropped, mixed, masked and balanced as a function of the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd
from auricle.corpus.decoded import DecodedCache, Quantised
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Encoder
from auricle.errors import AudioError
from auricle.finetuning.config import FinetuneConfig
from auricle.training.randomness import derive_seed

_BATCH_SECONDS = 160.0  # of audio read at once outside training; a longer clip is read alone


class Clips:
    """Decoded clips of a corpus at one rate, kept in memory while there is room.

    Args:
        corpus: the clips.
        rate: sample rate in Hz.
        cache_mb: memory for decoded clips.

    Attributes:
        missing: corpus row -> reason why it could not be read, filled by `read_all`.
    """

    def __init__(self, corpus: Corpus, rate: int, cache_mb: int) -> None:
        self.corpus, self.rate = corpus, rate
        self.missing: dict[int, str] = {}
        self._cache = DecodedCache(cache_mb * 2**20)

    def __getitem__(self, row: int) -> np.ndarray:
        """Return a clip `(S,)` float32."""
        held = self._cache.get(row)
        if held is None:
            # Quantised even where nothing is kept: the numbers must not depend on the free memory.
            held = Quantised.of(self.corpus.audio(row, self.rate))
            self._cache.put(row, held)
        return held.restore()

    def read_all(self, rows: Sequence[int], progress: Callable[[int], None] | None = None) -> NDArray[np.int64]:
        """Read each clip once and return the rows that can be read; the others are listed in `missing`.

        Args:
            rows: corpus rows.
            progress: called with the number of clips read.
        """
        for count, row in enumerate(rows, 1):
            try:
                self[int(row)]
            except AudioError as error:
                self.missing[int(row)] = error.reason
            if progress is not None:
                progress(count)
        return np.array([row for row in rows if int(row) not in self.missing], dtype=np.int64)


@dataclass(frozen=True)
class TrainingBatch:
    """Clips of one step: `audio` with `targets (B, C)` float32, soft where clips were mixed."""

    audio: Audio
    targets: Tensor


class Batches:
    """Training batches of one fold and seed; the clips, crops and mixtures of a step depend on seed and step alone.

    Args:
        clips: decoded clips.
        rows: `(n,)` corpus rows of the training clips.
        truth: `(n, C)` bool.
        config: batch, mixing, drawing.
        mixup: share of clips that are mixed.
        most: samples of the longest training window, or None.
        seed: of everything drawn.
    """

    def __init__(
        self,
        clips: Clips,
        rows: NDArray[np.int64],
        truth: NDArray[np.bool_],
        config: FinetuneConfig,
        *,
        mixup: float,
        most: int | None,
        seed: int,
    ) -> None:
        self.clips, self.rows, self.config = clips, rows, config
        self.mixup, self.most, self.seed = mixup, most, seed
        self.targets = truth.astype(np.float32)
        self.steps = max(1, round(len(rows) / config.batch))
        self._weights = class_weights(truth) if config.balanced else None

    def epoch(self, number: int) -> Iterator[TrainingBatch]:
        """Yield the batches of an epoch (counted from 0); the next one is decoded meanwhile."""
        places = np.array_split(self._order(number), self.steps)
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self._batch, places[0], number * self.steps)
            for i in range(self.steps):
                batch = coming.result()
                if i + 1 < self.steps:
                    coming = pool.submit(self._batch, places[i + 1], number * self.steps + i + 1)
                yield batch

    def _order(self, epoch: int) -> NDArray[np.int64]:
        draw = np.random.default_rng(derive_seed(self.seed, "finetune order", epoch))
        n = len(self.rows)
        if self._weights is None:
            return draw.permutation(n)
        return draw.choice(n, size=n, p=self._weights)

    def _batch(self, places: NDArray[np.int64], step: int) -> TrainingBatch:
        draw = np.random.default_rng(derive_seed(self.seed, "finetune clips", step))
        waves, targets = [], []
        for place in places:
            wave, target = self._cut(int(place), draw), self.targets[place]
            if draw.random() < self.mixup:
                partner = int(draw.integers(len(self.rows)))
                share = float(draw.beta(self.config.mixup_beta, self.config.mixup_beta))
                other = self._cut(partner, draw)[: len(wave)]
                wave = share * wave
                wave[: len(other)] += (1 - share) * other
                target = share * target + (1 - share) * self.targets[partner]
            waves.append(wave.astype(np.float32))
            targets.append(target)
        return TrainingBatch(Audio.stack(waves, self.clips.rate), torch.from_numpy(np.stack(targets)))

    def _cut(self, place: int, draw: np.random.Generator) -> np.ndarray:
        wave = self.clips[int(self.rows[place])]
        start = draw.random()
        if self.most is None or len(wave) <= self.most:
            return wave
        begin = int(start * (len(wave) - self.most + 1))
        return wave[begin : begin + self.most]


def class_weights(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the probability `(n,)` of drawing each clip, in proportion to the sum of 1 / count over its labels.

    As in Audio-MAE's training on AudioSet (arXiv 2207.06405, released code), which never draws clips without labels;
    here these count as a class.

    Args:
        truth: `(n, C)` bool.
    """
    labels = np.column_stack([truth, ~truth.any(1)]).astype(np.float64)
    counts = labels.sum(0)
    weights = labels @ np.divide(1.0, counts, out=np.zeros_like(counts), where=counts > 0)
    return weights / weights.sum()


def mask_spectrum(features: Features, freq: float, time: float, generator: torch.Generator) -> Features:
    """Hide one band of frequencies and one stretch of time of each clip (SpecAugment, arXiv 1904.08779).

    Widths are uniform from 0 to a share of the bands, or of the clip's own frames; hidden entries get the padding value
    of the features, as in AudioMosaic.

    Args:
        features: `(B, T, F)`, or `(B, S)` for waveforms, which have no bands.
        freq: widest frequency mask as a share of F.
        time: widest time mask as a share of a clip's valid length.
        generator: on the CPU.
    """
    x = features.x
    B, device = x.shape[0], x.device
    draws = torch.rand(4, B, generator=generator).to(device)
    hidden = _span(draws[0], draws[1], features.lengths.to(x.dtype), time, x.shape[1])
    if x.dim() == 3:
        bands = torch.full((B,), float(x.shape[2]), device=device)
        rows = _span(draws[2], draws[3], bands, freq, x.shape[2])
        hidden = hidden.unsqueeze(2) | rows.unsqueeze(1)
    return Features(x.masked_fill(hidden, features.pad), features.lengths, features.rate, features.pad)


def _span(width: Tensor, place: Tensor, whole: Tensor, share: float, size: int) -> Tensor:
    """`(B, size)` bool: a range of each row's first `whole` entries; `width` and `place` are uniform in [0, 1)."""
    wide = (width * (whole * share)).floor()
    begin = (place * (whole - wide + 1)).floor()
    at = torch.arange(size, device=width.device)
    return (at >= begin.unsqueeze(1)) & (at < (begin + wide).unsqueeze(1))


def longest_window(frontend: FrontEnd, encoder: Encoder, max_seconds: float | None) -> int | None:
    """Return the samples of the longest training window: the encoder's limit, or `max_seconds` if that is shorter."""
    limits = [] if max_seconds is None else [max(1, round(max_seconds * frontend.rate))]
    if encoder.max_frames is not None:
        low, high = 1, 1
        while frontend.frames(high) <= encoder.max_frames:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if frontend.frames(middle) <= encoder.max_frames else (low, middle)
        limits.append(low)
    return min(limits) if limits else None


def reading_order(clips: Clips, rows: NDArray[np.int64], exact: bool, batch: int) -> Iterator[list[int]]:
    """Yield positions of clips to read together: of similar length, or of one length unless padding is exact.

    Args:
        clips: decoded clips.
        rows: `(n,)` corpus rows.
        exact: whether padding changes nothing that is read, see `FrozenEncoder.exact_padding`.
        batch: clips of a group.
    """
    seconds = np.asarray(clips.corpus.column("seconds"), dtype=np.float64)[rows]
    lengths = seconds
    if not exact:
        lengths = np.array([len(clips[int(row)]) for row in rows], dtype=np.float64)
    group: list[int] = []
    for place in np.argsort(lengths, kind="stable").tolist():
        # Sorted by length: the last clip is the longest, and pads the others.
        full = len(group) >= batch or (len(group) + 1) * seconds[place] > _BATCH_SECONDS
        if group and (full or not (exact or lengths[place] == lengths[group[-1]])):
            yield group
            group = []
        group.append(place)
    if group:
        yield group
