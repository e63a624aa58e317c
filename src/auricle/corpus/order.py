"""Which clips go together in which step: a pure function of the seed and the epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auricle.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from auricle.corpus.loader import LoaderConfig
    from auricle.corpus.windows import WindowConfig

# Seed sequences ignore trailing zeros, so streams are told apart by a leading number.
_ORDER, _CROP = 1, 2


def crop_generator(seed: int, epoch: int, place: int) -> np.random.Generator:
    """Return the generator of all random choices for one place of one epoch."""
    return np.random.default_rng([_CROP, seed, epoch, place])


@dataclass(frozen=True)
class Epoch:
    """The order of one epoch.

    Attributes:
        order: the clips drawn (by `clip`: every usable one once); those that fill no batch stand at the end.
        bounds: `(steps + 1,)`; step k has the clips `order[bounds[k] : bounds[k + 1]]`.
        stride: how far ahead a replacement is looked for; it has no divisor in common with the number of clips, so
            that in the end all clips are tried.
    """

    order: np.ndarray
    bounds: np.ndarray
    stride: int

    def replacement(self, place: int, attempt: int) -> int:
        """Return the clip for a place: its own at attempt 0, then those a whole batch further on each time.

        A replacement from the same batch would put one clip twice before an objective that contrasts clips. Where
        clips are drawn by duration, one clip comes up for several attempts; as many attempts as there are places meet
        every clip.
        """
        return int(self.order[(place + attempt * self.stride) % len(self.order)])


@dataclass(frozen=True)
class Plan:
    """How clips are grouped, for any epoch.

    Attributes:
        groups: clips of similar length, and how many of them make a batch (over all ranks).
        drop_last: incomplete batches are left out.
        world: ranks that share a batch evenly.
        seconds: `(n,)` length of each clip where clips are drawn in proportion to it; None: each once in an epoch.
        window: seconds of a window.
    """

    groups: tuple[tuple[np.ndarray, int], ...]
    drop_last: bool
    world: int
    seconds: np.ndarray | None = None
    window: float = 1.0

    def windows(self, members: np.ndarray) -> int:
        """Windows that an epoch takes from a group: by duration as many as fill it, at least one per clip."""
        total = 0.0 if self.seconds is None else float(self.seconds[members].sum()) / self.window
        return max(len(members), round(total))

    def _draw(self, members: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        mixed = generator.permutation(members)
        if self.seconds is None:
            return mixed
        # Systematic sampling: a clip worth 2.3 windows comes up twice or three times, never more or less. Its windows
        # are spread evenly over the epoch, so that (nearly) none meet in a batch.
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
        """Return an epoch's order: each group's clips as they are drawn, batches of all groups mixed."""
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
    """Group clips by length (one group unless buckets are asked for) and choose each group's batch.

    Args:
        seconds: `(n,)` length of each clip.
        window: fixed or variable windows.
        config: batch, seconds budget, buckets.
        world: ranks that share a batch evenly.

    Raises:
        ConfigError: the batch does not divide by `world`, or no group holds a whole batch.
        CorpusError: no clip is long enough.
    """
    usable = np.flatnonzero(seconds >= config.shortest)
    if not len(usable):
        found = f"the longest of {len(seconds)} clips has {seconds.max():.3g} s" if len(seconds) else "no clips"
        raise CorpusError(f"nothing to load: {found}; clips of at least {config.shortest:g} s are needed")
    if config.batch_seconds is None and config.batch % world:
        raise ConfigError(
            f"loader.batch is {config.batch}, which {world} ranks can't share evenly; use a multiple of {world}"
        )
    lengths = np.minimum(seconds[usable], window.seconds) if window.variable else np.full(len(usable), window.seconds)
    groups = []
    for rows in _buckets(lengths, config.buckets if window.variable else 1):
        count = config.batch
        if config.batch_seconds is not None:
            count = int(config.batch_seconds / lengths[rows].max())
            count = max(world, count - count % world)
        groups.append((usable[rows], count))
    by_duration = seconds if config.sampling == "duration" else None
    plan = Plan(tuple(groups), config.drop_last, world, by_duration, window.seconds)
    if plan.steps == 0:
        largest = max(plan.windows(members) for members, _ in groups)
        count = min(count for _, count in groups)
        raise ConfigError(
            f"a batch has {count} clips and the corpus only {len(usable)} (of {len(seconds)} long enough; at most "
            f"{largest} in a length bucket); set loader.batch to at most {largest - largest % world}, "
            "use fewer loader.buckets, or set loader.drop_last to false"
        )
    return plan


def _buckets(lengths: np.ndarray, count: int) -> list[np.ndarray]:
    """Split into buckets of (nearly) equal size by length; equal lengths stay in one bucket."""
    if count <= 1:
        return [np.arange(len(lengths))]
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, count + 1)[1:-1]))
    bucket = np.searchsorted(edges, lengths, side="left")
    return [rows for b in range(len(edges) + 1) if len(rows := np.flatnonzero(bucket == b))]
