"""The clips of each step: a pure function of the seed and the epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from auricle.config import Config, Count, Natural, Positive
from auricle.corpus.windows import WindowConfig
from auricle.devices import cores
from auricle.errors import ConfigError, CorpusError
from auricle.words import counted

# Seed sequences ignore trailing zeros, so that streams differ in a leading number.
_ORDER, _CROP = 1, 2


@dataclass(frozen=True)
class LoaderConfig(Config):
    """How clips become batches.

    Attributes:
        batch: clips in a step, over all ranks.
        batch_seconds: seconds of audio in a step over all ranks, instead of `batch`; batches of short windows then have
            more clips.
        workers: background threads that decode; 0: decode in the training thread; -1: one on up to 2 cores, otherwise
            half the cores but at most eight.
        prefetch: batches made ahead; each takes 4 bytes a sample (6144 windows of 5.12 s at 16 kHz: 2 GB).
        cache_mb: memory for decoded clips (16 bit), so that later epochs decode nothing; 0: none.
        sampling: `clip`: every clip once in an epoch; `duration`: clips are drawn in proportion to their length, a
            recording of hours as often as the same hours in clips, and never fewer windows than there are clips.
        buckets: length buckets, for variable windows: a batch holds clips of similar length; 0 or 1: none. One that
            fills no batch joins its neighbour.
        drop_last: drop an epoch's last incomplete batch.
        shortest: replace clips of fewer seconds: repeated, these are only a tone or a constant.
        skip_silent: replace clips that are digitally silent (constant to within -80 dB of full scale): all views of all
            silent clips are equal, so that no contrast can separate them.
        pin_memory: keep batches in page-locked memory if there is a GPU.
    """

    batch: Count = 64
    batch_seconds: Positive | None = None
    workers: Annotated[int, Ge(-1)] = -1
    prefetch: Count = 2
    cache_mb: Natural = 1024
    sampling: Literal["clip", "duration"] = "clip"
    buckets: Natural = 0
    drop_last: bool = True
    shortest: float = 0.05
    skip_silent: bool = True
    pin_memory: bool = False

    def threads(self) -> int:
        """Return the number of background threads on this machine."""
        if self.workers >= 0:
            return self.workers
        return 1 if cores() <= 2 else min(8, cores() // 2)


def crop_generator(seed: int, epoch: int, place: int) -> np.random.Generator:
    """Return the generator of all random choices for one position of one epoch."""
    return np.random.default_rng([_CROP, seed, epoch, place])


@dataclass(frozen=True)
class Epoch:
    """The order of one epoch.

    Attributes:
        order: the clips drawn (by `clip`: every usable one once); those that fill no batch are at the end.
        bounds: `(steps + 1,)`; step k has the clips `order[bounds[k] : bounds[k + 1]]`.
        stride: distance to a replacement, coprime to the number of clips, so that all clips are tried in the end.
    """

    order: np.ndarray
    bounds: np.ndarray
    stride: int

    def replacement(self, place: int, attempt: int) -> int:
        """Return the clip for a position: its own at attempt 0, then those a whole batch further on each time.

        A replacement from the same batch would show an objective that contrasts clips the same clip twice. If clips are
        drawn by duration, several attempts may give the same clip; as many attempts as positions give every clip.
        """
        return int(self.order[(place + attempt * self.stride) % len(self.order)])


@dataclass(frozen=True)
class Plan:
    """How clips are grouped, for any epoch.

    Attributes:
        groups: clips of similar length, and the number of them in a batch (over all ranks).
        drop_last: drop incomplete batches.
        world: ranks that share a batch evenly.
        seconds: `(n,)` length of each clip if clips are drawn in proportion to it; None: each once in an epoch.
        window: seconds of a window.
    """

    groups: tuple[tuple[np.ndarray, int], ...]
    drop_last: bool
    world: int
    seconds: np.ndarray | None = None
    window: float = 1.0

    def windows(self, members: np.ndarray) -> int:
        """Return the windows of a group in an epoch: by duration as many as fill it, at least one per clip."""
        total = 0.0 if self.seconds is None else float(self.seconds[members].sum()) / self.window
        return max(len(members), round(total))

    def _draw(self, members: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        mixed = generator.permutation(members)
        if self.seconds is None:
            return mixed
        # Systematic sampling: a clip of 2.3 windows is drawn two or three times, never more or less. Its windows are
        # spread evenly over the epoch, so that (nearly) none share a batch.
        count = self.windows(members)
        ends = np.cumsum(self.seconds[mixed])
        points = (np.arange(count) + generator.random()) * (ends[-1] / count)
        copies = np.bincount(np.searchsorted(ends, points, side="right").clip(max=len(mixed) - 1), minlength=len(mixed))
        drawn = np.repeat(np.arange(len(mixed)), copies)
        first = np.cumsum(copies) - copies
        nth = np.arange(count) - first[drawn]
        order = (nth + generator.random(len(mixed))[drawn]) / copies[drawn]
        return mixed[drawn[np.argsort(order, kind="stable")]]

    def _sizes(self, clips: int, count: int) -> list[int]:
        full, left = divmod(clips, count)
        left -= left % self.world
        return [count] * full + ([left] if left and not self.drop_last else [])

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return sum(len(self._sizes(self.windows(members), count)) for members, count in self.groups)

    def epoch(self, seed: int, epoch: int) -> Epoch:
        """Return an epoch's order: the drawn clips of each group, batches of all groups mixed."""
        generator = np.random.default_rng([_ORDER, seed, epoch])
        batches: list[np.ndarray] = []
        rest: list[np.ndarray] = []
        for members, count in self.groups:
            drawn = self._draw(members, generator)
            ends = np.cumsum(self._sizes(len(drawn), count)).astype(np.int64)
            *parts, left = np.split(drawn, ends)
            batches += parts
            rest.append(left)
        if len(self.groups) > 1:
            batches = [batches[i] for i in generator.permutation(len(batches))]
        bounds = np.cumsum([0, *(len(batch) for batch in batches)])
        order = np.concatenate([*batches, *rest])
        stride = max(count for _, count in self.groups)
        while math.gcd(stride, len(order)) != 1:
            stride += 1
        return Epoch(order, bounds, stride)


def make_plan(seconds: np.ndarray, window: WindowConfig, config: LoaderConfig, world: int) -> Plan:
    """Group clips by length (one group without buckets) and choose each group's batch.

    Args:
        seconds: `(n,)` length of each clip.
        window: fixed or variable windows.
        config: batch, seconds budget, buckets.
        world: ranks that share a batch evenly.

    Raises:
        ConfigError: the batch does not divide by `world`.
        CorpusError: no clip is long enough.
    """
    usable = np.flatnonzero(seconds >= config.shortest)
    if not len(usable):
        found = f"the longest of {len(seconds)} clips has {seconds.max():.3g} s" if len(seconds) else "no clips"
        raise CorpusError(
            f"nothing to load: {found}; clips of at least {config.shortest:g} s are needed: "
            "add longer recordings, or lower --loader.shortest"
        )
    if config.batch_seconds is None and config.batch % world:
        raise ConfigError(
            f"loader.batch is {config.batch}, which {world} ranks can't share evenly; set --loader.batch "
            f"{max(world, config.batch - config.batch % world)}"
        )
    lengths = np.minimum(seconds[usable], window.seconds) if window.variable else np.full(len(usable), window.seconds)
    by_duration = seconds if config.sampling == "duration" else None

    def plan(buckets: list[np.ndarray]) -> Plan:
        groups = []
        for rows in buckets:
            count = config.batch
            if config.batch_seconds is not None:
                count = int(config.batch_seconds / lengths[rows].max())
                count = max(world, count - count % world)
            groups.append((usable[rows], count))
        return Plan(tuple(groups), config.drop_last, world, by_duration, window.seconds)

    # A bucket that fills no batch would never be drawn: it joins its neighbour.
    merged: list[np.ndarray] = []
    for rows in _buckets(lengths, config.buckets if window.variable else 1):
        if merged and not (plan([merged[-1]]).steps and plan([rows]).steps):
            rows = np.concatenate([merged.pop(), rows])
        merged.append(rows)
    return plan(merged)


def fitted(seconds: np.ndarray, window: WindowConfig, config: LoaderConfig, world: int) -> LoaderConfig:
    """Return the settings with a batch that the corpus fills, where an epoch would have none; else as they are.

    Args:
        seconds: as for `make_plan`, as are `window`, `config` and `world`.
        window: fixed or variable windows.
        config: to lower.
        world: ranks that share a batch evenly.

    Raises:
        ConfigError: the batch does not divide by `world`, or there are fewer windows than ranks.
        CorpusError: no clip is long enough.
    """
    plan = make_plan(seconds, window, config, world)
    if plan.steps:
        return config
    ((members, _),) = plan.groups
    windows = plan.windows(members)
    if windows < world:
        raise ConfigError(
            f"the corpus fills {counted(windows, 'window')} in an epoch, fewer than the {world} ranks that share a "
            "batch; start fewer ranks, or add recordings"
        )
    return config.replace(batch=windows - windows % world, batch_seconds=None)


def _buckets(lengths: np.ndarray, count: int) -> list[np.ndarray]:
    """Split into buckets of (nearly) equal size by length; equal lengths stay in one bucket."""
    if count <= 1:
        return [np.arange(len(lengths))]
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, count + 1)[1:-1]))
    bucket = np.searchsorted(edges, lengths, side="left")
    return [rows for b in range(len(edges) + 1) if len(rows := np.flatnonzero(bucket == b))]
