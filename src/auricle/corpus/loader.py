"""Batches of training windows, the same at any number of workers and after any resume.

A batch is a pure function of (seed, step): the epoch's order, the crop of each clip, and the replacement of corrupt
clips. Workers are threads: libsndfile and soxr release the interpreter's lock while they decode and resample, so
threads decode in parallel, and share one cache of decoded clips.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.recording import SILENCE
from auricle.corpus.decoded import DecodedCache, Quantised
from auricle.corpus.losses import clip_name, silence
from auricle.corpus.order import Epoch, LoaderConfig, crop_generator, fitted, make_plan
from auricle.corpus.reading import expansions, share_notes
from auricle.corpus.table import Corpus
from auricle.corpus.windows import WindowConfig, fill, padding_share
from auricle.errors import AudioError, ConfigError, CorpusError, Reason
from auricle.words import counted

__all__ = ["Batch", "Loader", "LoaderConfig"]

# Clips longer than this many windows are neither decoded whole nor cached: only a range around a crop is read.
_WHOLE_WINDOWS = 12
# An energy crop of such a long clip is chosen inside a range of this many windows.
_ENERGY_WINDOWS = 4
# A long recording is searched for sound in pieces of this many seconds, once, where windows of it are silent.
_PIECE = 120.0
# Rows of a unit of work for a background thread: large enough to keep the overhead small.
_GROUP = 8
# More unusable clips for one window than this are not just a few corrupt files.
_REPLACEMENTS = 100


@dataclass(frozen=True)
class Batch:
    """The data of one training step (this rank's part).

    Attributes:
        step: counts from 0 over all epochs.
        epoch: counts from 0.
        audio: `(B, S)` windows; the lengths are below S only where short clips were padded or windows are variable.
        clip: `(B,)` int64, each window's clip in the corpus.
    """

    step: int
    epoch: int
    audio: Audio
    clip: Tensor


class Loader:
    """Makes the batches of any step of a training run.

    Attributes:
        config: how clips become batches; where a corpus is smaller than a batch, the batch is lowered to it.
        asked: the settings before that.
        steps_per_epoch: batches in an epoch.
    """

    def __init__(
        self,
        corpus: Corpus,
        window: WindowConfig,
        config: LoaderConfig,
        *,
        rate: int = 16000,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Plan the epochs.

        Args:
            corpus: the clips.
            window: how a clip becomes a window.
            config: how clips become batches.
            rate: sample rate of the audio in Hz.
            seed: all orders and crops follow from it.
            rank: this process among `world`; each gets its own equal part of every batch.
            world: how many processes train together.

        Raises:
            ConfigError: the batch does not divide by `world`, or the corpus has fewer windows than that.
            CorpusError: the corpus is empty.
        """
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} is not among {world} ranks; expected 0 to {world - 1}")
        self.corpus, self.window, self.asked = corpus, window, config
        self.rate, self.seed, self.rank, self.world = rate, seed, rank, world
        self._broken: dict[str, Reason] = {}
        self._unusable: dict[int, Reason] = {}
        self._silent: dict[int, Reason] = {}
        self._searched: dict[int, Reason | None] = {}
        self._searching: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()
        self._samples = window.samples(rate)
        # As played: a clip whose time is expanded fills more windows.
        self._expansion = expansions(corpus)
        self._seconds = np.asarray(corpus.column("seconds"), dtype=np.float64) * self._expansion
        self.config = config = fitted(self._seconds, window, config, world)
        self._plan = make_plan(self._seconds, window, config, world)
        self._epochs: dict[int, Epoch] = {}
        self._cache = DecodedCache(config.cache_mb * 2**20)
        self.steps_per_epoch = self._plan.steps
        for index in np.flatnonzero(self._seconds < config.shortest):
            self._note(int(index), self._too_short(int(index)))

    def iterate(self, start_step: int = 0, stop_step: int | None = None) -> Iterator[Batch]:
        """Yield the batches from `start_step` on (to `stop_step`, else without end).

        Raises:
            CorpusError: hardly any recording can be used.
        """
        threads = self.config.threads()
        step = start_step
        if threads == 0:
            while stop_step is None or step < stop_step:
                yield self._begin(step, None).finish()
                step += 1
            return
        pool = ThreadPoolExecutor(threads, thread_name_prefix="auricle-loader")
        ahead: deque[_Work] = deque()
        try:
            while True:
                while len(ahead) < self.config.prefetch and (stop_step is None or step < stop_step):
                    ahead.append(self._begin(step, pool))
                    step += 1
                if not ahead:
                    return
                yield ahead.popleft().finish()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    @property
    def broken(self) -> dict[str, Reason]:
        """Recordings that could not be used so far -> the reason; others replaced them."""
        with self._lock:
            return dict(self._broken)

    @property
    def lost(self) -> dict[int, Reason]:
        """Rows of the clips that are not used any more -> the reason (of long recordings, other windows are drawn)."""
        short = np.flatnonzero(self._seconds < self.config.shortest).tolist()
        with self._lock:
            return {row: self._too_short(row) for row in short} | self._unusable

    @property
    def silent(self) -> dict[int, Reason]:
        """Rows of silent clips that are used all the same, without `skip_silent` -> the remark."""
        with self._lock:
            return dict(self._silent)

    def _too_short(self, index: int) -> Reason:
        return Reason(f"too short: {self._seconds[index]:.3g} s", "too short")

    def warnings(self) -> tuple[str, ...]:
        """Return what is remarkable of an epoch: a batch that was lowered, one recording that fills much of it."""
        shares = share_notes(self.corpus, self._seconds if self.config.sampling == "duration" else None)
        if self.config == self.asked:
            return shares
        windows = sum(self._plan.windows(members) for members, _ in self._plan.groups)
        said = f"the corpus fills {counted(windows, 'window')} in an epoch, too few for a batch as it is set"
        return (f"{said}: --loader.batch is lowered to {self.config.batch}, the learning rate stays", *shares)

    def padding(self) -> float:
        """Return the share (0 ... 1) of the first epoch's batches that is padding, from the table's durations."""
        if not self.window.variable:
            return padding_share(self.corpus, self.window)
        epoch = self._epoch(0)
        seen = room = 0.0
        for begin, end in pairwise(epoch.bounds):
            seconds = np.minimum(self._seconds[epoch.order[begin:end]], self.window.seconds)
            seen += float(seconds.sum())
            room += float(seconds.max()) * len(seconds)
        return 1 - seen / room

    def _epoch(self, epoch: int) -> Epoch:
        if epoch not in self._epochs:
            # Prefetching enters the next epoch while batches of the current one are still being made.
            self._epochs = {k: v for k, v in self._epochs.items() if k == epoch - 1}
            self._epochs[epoch] = self._plan.epoch(self.seed, epoch)
        return self._epochs[epoch]

    def _begin(self, step: int, pool: ThreadPoolExecutor | None) -> _Work:
        epoch, number = divmod(step, self.steps_per_epoch)
        order = self._epoch(epoch)
        places = range(int(order.bounds[number]), int(order.bounds[number + 1]))[self.rank :: self.world]
        pin = self.config.pin_memory and torch.cuda.is_available()
        wave = torch.zeros(len(places), self._samples, pin_memory=pin)
        lengths, clip = torch.zeros(2, len(places), dtype=torch.int64)
        work = _Work(step, epoch, self.rate, self.window.variable, wave, lengths, clip)
        if pool is None:
            self._make(work, order, places, 0, len(places))
        else:
            groups = range(0, len(places), _GROUP)
            work.parts = [pool.submit(self._make, work, order, places, row, row + _GROUP) for row in groups]
        return work

    def _make(self, work: _Work, order: Epoch, places: range, begin: int, end: int) -> None:
        """Fill some rows of a batch."""
        wave, lengths, clip = work.wave.numpy(), work.lengths.numpy(), work.clip.numpy()
        for row in range(begin, min(end, len(places))):
            index, part, valid = self._usable_window(work.epoch, order, places[row])
            wave[row, : len(part)] = part
            lengths[row], clip[row] = valid, index

    def _usable_window(self, epoch: int, order: Epoch, place: int) -> tuple[int, np.ndarray, int]:
        """Return the clip and window of a position; if the clip is unusable, those of the next usable one."""
        reason = ""
        # Of a long recording only this range is known to be corrupt. Other positions must not depend on that: a resumed
        # run would differ from an uninterrupted one.
        failed: set[int] = set()
        for attempt in range(len(order.order)):
            index = order.replacement(place, attempt)
            if index in failed or index in self._unusable:
                continue
            if len(failed) == _REPLACEMENTS:
                break
            try:
                return index, *self._window(index, epoch, place)
            except AudioError as error:
                reason = f"{self.corpus[index].file}: {error.reason}"
                self._note(index, error.reason)
                failed.add(index)
                if not self._is_long(index) or error.reason.cause == "silent":
                    self._unusable[index] = error.reason
        broken = self.broken
        raise CorpusError(
            f"corpus {self.corpus.name}: {counted(len(broken), 'recording')} can't be used, and no other was found for "
            f"a window; the last one: {reason or ': '.join(list(broken.items())[-1])}. Run `auricle corpus scan` on it"
        )

    def _note(self, index: int, reason: Reason) -> None:
        with self._lock:
            self._broken[clip_name(self.corpus, index)] = reason

    def _is_long(self, index: int) -> bool:
        return bool(self._seconds[index] > _WHOLE_WINDOWS * self.window.seconds)

    def _window(self, index: int, epoch: int, place: int) -> tuple[np.ndarray, int]:
        generator = crop_generator(self.seed, epoch, place)
        if self._is_long(index):
            return self._window_of_long(index, generator)
        clip = self._cache.get(index)
        if clip is None:
            # Quantised even if nothing is cached: the numbers must not depend on the cache.
            clip = Quantised.of(self.corpus.audio(index, self.rate))
            self._cache.put(index, clip)
        if len(clip.samples) < self.config.shortest * self.rate:
            raise AudioError(f"too short: {len(clip.samples)} samples at {self.rate} Hz", cause="too short")
        self._refuse_silent(index, silence(clip.spread))
        return fill(clip.restore(), self._samples, self.window, generator)

    def _refuse_silent(self, index: int, said: Reason | None) -> None:
        if said is not None and self.config.skip_silent:
            raise AudioError(said)
        if said is not None:
            with self._lock:
                self._silent[index] = said

    def _silence_of_long(self, index: int) -> Reason | None:
        """Search a long recording for sound, once: other threads that need it wait."""
        with self._lock:
            searching = self._searching.setdefault(index, threading.Lock())
        with searching:
            if index not in self._searched:
                self._searched[index] = self._search(index)
            return self._searched[index]

    def _search(self, index: int) -> Reason | None:
        """Read a recording up to the first piece that has sound."""
        # Durations in manually written tables are rounded.
        length = max(self.corpus[index].seconds - 0.01, 0.001)
        lowest, highest = math.inf, -math.inf
        for start in np.arange(0.0, length, _PIECE):
            wave = self.corpus.audio(index, self.rate, start=float(start), seconds=_PIECE)
            lowest, highest = min(lowest, float(wave.min())), max(highest, float(wave.max()))
            if silence((highest - lowest) / 2) is None:
                return None
        return silence((highest - lowest) / 2)

    def _window_of_long(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
        """Read only a range of a long recording; draw again if it is silent, as `fill` does for shorter clips."""
        window = self.window
        span = window.seconds * (_ENERGY_WINDOWS if window.crop == "energy" else 1)
        # Durations in manually written tables are rounded: keep away from the end.
        room = self._seconds[index] - span - 0.01
        fixed = {"start": 0.0, "centre": room / 2}.get(window.crop)
        starts = generator.uniform(0, room, size=window.tries) if fixed is None else np.array([fixed])
        factor = float(self._expansion[index])
        ranges = (
            Quantised.of(self.corpus.audio(index, self.rate, start=float(s) / factor, seconds=span / factor))
            for s in starts
        )
        first = next(ranges)
        chosen = first if first.spread > SILENCE else next((r for r in ranges if r.spread > SILENCE), first)
        if chosen.spread <= SILENCE:
            self._refuse_silent(index, self._silence_of_long(index))
        return fill(chosen.restore(), self._samples, window, generator)


@dataclass
class _Work:
    """A batch in the making; background threads write its rows."""

    step: int
    epoch: int
    rate: int
    variable: bool
    wave: Tensor
    lengths: Tensor
    clip: Tensor
    parts: list[Future[None]] = field(default_factory=list)

    def finish(self) -> Batch:
        """Wait for all rows."""
        for part in self.parts:
            part.result()
        wave = self.wave[:, : int(self.lengths.max())] if self.variable else self.wave
        return Batch(self.step, self.epoch, Audio(wave, self.lengths, self.rate), self.clip)
