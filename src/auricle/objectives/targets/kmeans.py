"""Streaming k-means: clusters of more vectors than fit in memory, from batches that are seen once or several times.

A reservoir keeps a uniform sample of all vectors seen so far. Once it is full, the centres are seeded from it by
k-means++ and a few passes of Lloyd's algorithm; from then on every batch moves the centres as in mini-batch k-means,
each centre by its own rate, which falls with the number of its vectors. Centres with (almost) no vectors are moved to
vectors of the reservoir that lie far from their centre. At the end, centres computed from the reservoir alone replace
the others if they are better on an unseen part of it, as they are after a sorted stream.

Sources: Sculley 2010, "Web-scale k-means clustering" (updates); Arthur and Vassilvitskii 2007 (k-means++); Vitter 1985
(reservoir). HuBERT (arXiv 2106.07447, section IV-A) clusters MFCC, and later features of a layer, in this way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.errors import ConfigError
from auricle.objectives.targets.lloyd import cluster_sums, lloyd, nearest_centres, plus_plus

_LLOYD_PASSES = 10
# Vectors per centre that k-means++ chooses from: its cost grows with their number times K.
_SEEDS_FROM = 10


@dataclass(frozen=True)
class KMeansReport:
    """Statistics of a clustering.

    Attributes:
        points: vectors seen, counted again in every pass.
        steps: mini-batch updates.
        reseeded: centres that were moved because they had (almost) no vectors, over all steps.
        empty: centres without a vector of the reservoir at the end.
        inertia: mean squared distance of the reservoir's vectors to their centres.
        perplexity: exp of the entropy of the clusters' shares in the reservoir, 1 ... K.
    """

    points: int
    steps: int
    reseeded: int
    empty: int
    inertia: float
    perplexity: float


class StreamingKMeans:
    """Finds K centres in a stream of vectors, in memory that does not grow with the stream.

    Deterministic: the same batches and a generator in the same state give the same centres on the same device. One
    process does all the work; vectors of several go to one of them. The order of the stream matters little where clips
    are shuffled; for a sorted one the reservoir should be large.

    Args:
        clusters: K.
        generator: on the CPU, for all draws.
        batch: vectors in a mini-batch; HuBERT's is 10,000.
        reservoir: vectors in the reservoir; None: the greater of 30 K and 2 `batch`.
        least_share: a centre with a smaller share of the vectors than this times that of the largest is moved.

    Raises:
        ConfigError: a number is not positive, or the reservoir is smaller than K.

    Examples:
        >>> kmeans = StreamingKMeans(2, torch.Generator().manual_seed(0))
        >>> kmeans.partial_fit(torch.tensor([[0.0], [0.2], [9.0], [9.2]]))
        >>> _ = kmeans.finish()
        >>> kmeans.centres.flatten().sort().values
        tensor([0.1000, 9.1000])

    Attributes:
        report: after `finish`, else None.
    """

    report: KMeansReport | None = None

    def __init__(
        self,
        clusters: int,
        generator: torch.Generator,
        batch: int = 10_000,
        reservoir: int | None = None,
        least_share: float = 0.01,
    ) -> None:
        size = max(30 * clusters, 2 * batch) if reservoir is None else reservoir
        for name, value in (("clusters", clusters), ("batch", batch)):
            if value < 1:
                raise ConfigError(f"StreamingKMeans: found {name}={value}, expected at least 1")
        if size < clusters:
            raise ConfigError(
                f"found a reservoir of {size} vectors for {clusters} clusters; it must hold at least one each"
            )
        if not 0.0 <= least_share < 1.0:
            raise ConfigError(f"StreamingKMeans: found least_share={least_share}, expected 0 <= least_share < 1")
        self.clusters, self.batch, self.size, self.least_share = clusters, batch, size, least_share
        self.generator = generator
        self._reservoir: Tensor | None = None
        self._kept = self._points = self._steps = self._reseeded = 0
        self._waiting: list[Tensor] = []
        self._centres: Tensor | None = None
        self._counts = torch.zeros(clusters, dtype=torch.float64)
        self._since_check = 0

    @property
    def centres(self) -> Tensor:
        """The centres `(K, D)`, float32.

        Raises:
            ConfigError: fewer vectors than the reservoir holds were given, and `finish` was not called.
        """
        if self._centres is None:
            raise ConfigError("the centres are not known yet: call finish() after the last batch")
        return self._centres

    def partial_fit(self, x: Tensor) -> None:
        """Take further vectors `(n, D)`, of any number.

        Raises:
            ConfigError: they have another width than the ones before, or values that are not finite.
        """
        if x.dim() != 2 or (self._reservoir is not None and x.shape[1] != self._reservoir.shape[1]):
            width = "D" if self._reservoir is None else self._reservoir.shape[1]
            raise ConfigError(f"found vectors of shape {tuple(x.shape)}, expected (n, {width})")
        if len(x) == 0:
            return
        # A copy, because waiting vectors must not change when the caller writes into the tensor again.
        x = x.detach().float().clone()
        if not bool(x.isfinite().all()):
            raise ConfigError("found vectors with values that are not finite; remove such features before clustering")
        self._sample(x)
        self._waiting.append(x)
        if self._centres is None and self._kept == self.size:
            self._seed()
        if self._centres is not None:
            self._work_off(self.batch)

    def finish(self) -> KMeansReport:
        """Use all waiting vectors, and return the report. Further batches may follow, and another `finish`.

        Raises:
            ConfigError: there were fewer vectors than clusters; both numbers are named.
        """
        if self._points < self.clusters or self._reservoir is None:
            raise ConfigError(
                f"found {self._points} vectors for {self.clusters} clusters; choose fewer clusters, or take more clips "
                "(or a larger share of them)"
            )
        if self._centres is None:
            self._seed()
        self._work_off(1)
        sample = self._reservoir[: self._kept]
        self._settle(sample)
        # Small clusters may stay at the end; those that never had a vector may not.
        self._reassign(sample, self._counts == 0)
        codes, distances = nearest_centres(sample, self.centres)
        share = torch.bincount(codes, minlength=self.clusters).double().cpu() / len(codes)
        perplexity = float(torch.exp(-(share * share.clamp(min=1e-300).log()).sum()))
        self.report = KMeansReport(
            self._points, self._steps, self._reseeded, int((share == 0).sum()), float(distances.mean()), perplexity
        )
        return self.report

    def _sample(self, x: Tensor) -> None:
        """Keep a uniform sample of all vectors seen."""
        if self._reservoir is None:
            self._reservoir = x.new_empty(self.size, x.shape[1])
        room = min(self.size - self._kept, len(x))
        self._reservoir[self._kept : self._kept + room] = x[:room]
        self._kept += room
        late = x[room:]
        if len(late):
            order = torch.arange(len(late), dtype=torch.float64) + self._points + room + 1
            slot = (torch.rand(len(late), dtype=torch.float64, generator=self.generator) * order).long()
            taken = (slot < self.size).nonzero().squeeze(1)
            # Where several are drawn for one slot, the last has it, as if they had come one after the other.
            last = torch.full((self.size,), -1)
            last.scatter_reduce_(0, slot[taken], taken, "amax")
            slots = (last >= 0).nonzero().squeeze(1)
            self._reservoir[slots.to(x.device)] = late[last[slots].to(x.device)]
        self._points += len(x)

    def _seed(self) -> None:
        """Seed the centres by k-means++ in the reservoir, followed by a few passes of Lloyd's algorithm."""
        if self._reservoir is not None:
            self._centres = self._from_scratch(self._reservoir[: self._kept])

    def _from_scratch(self, sample: Tensor) -> Tensor:
        order = torch.randperm(len(sample), generator=self.generator)[: _SEEDS_FROM * self.clusters]
        return lloyd(sample, plus_plus(sample[order.to(sample.device)], self.clusters, self.generator), _LLOYD_PASSES)

    def _settle(self, sample: Tensor) -> None:
        """Replace the centres by those of the reservoir, where these are better.

        A sorted stream (by speaker, by corpus) misleads the updates; the reservoir is an unbiased sample of it, but a
        small one. The comparison uses the half of it that the new centres were not computed from.
        """
        order = torch.randperm(len(sample), generator=self.generator).to(sample.device)
        one, other = sample[order[: len(order) // 2]], sample[order[len(order) // 2 :]]
        if len(one) < self.clusters:
            self._centres = lloyd(sample, self.centres, _LLOYD_PASSES)
            return
        found = [self.centres, lloyd(one, self.centres, _LLOYD_PASSES), self._from_scratch(one)]
        losses = [float(nearest_centres(other, centres)[1].mean()) for centres in found]
        best = losses.index(min(losses))
        if best > 0:
            self._centres = lloyd(sample, found[best], _LLOYD_PASSES)
            codes, _ = nearest_centres(sample, self._centres)
            share = torch.bincount(codes, minlength=self.clusters).double().cpu() / len(sample)
            self._counts = share * self._counts.sum()

    def _work_off(self, least: int) -> None:
        """Update by whole batches of the waiting vectors, as long as at least `least` of them wait."""
        if sum(len(part) for part in self._waiting) < least:
            return
        x = torch.cat(self._waiting)
        while len(x) >= least:
            self._update(x[: self.batch])
            x = x[self.batch :]
        # A copy: a view would keep the whole batch in memory.
        self._waiting = [x.clone()] if len(x) else []

    def _update(self, x: Tensor) -> None:
        centres = self.centres
        codes, _ = nearest_centres(x, centres)
        total, count = cluster_sums(x, codes, self.clusters)
        self._counts += count.double().cpu()
        rate = (count.double() / self._counts.to(x.device).clamp(min=1)).to(x.dtype).unsqueeze(1)
        self._centres = torch.lerp(centres, total / count.clamp(min=1).unsqueeze(1), rate)
        self._steps += 1
        self._since_check += len(x)
        if self._since_check >= 10 * self.clusters and self._reservoir is not None:
            self._since_check = 0
            self._reassign(self._reservoir[: self._kept], self._starved())

    def _starved(self) -> Tensor:
        return (self._counts == 0) | (self._counts < self.least_share * self._counts.max())

    def _reassign(self, sample: Tensor, which: Tensor) -> None:
        """Move some centres `(K,)` to vectors of the reservoir, drawn with the squared distance to their centre."""
        if not bool(which.any()):
            return
        _, distances = nearest_centres(sample, self.centres)
        weight = distances.double().cpu()
        # Vectors that coincide with a centre would only give a second one there.
        places = which.nonzero().squeeze(1)[: int((weight > 0).sum())]
        if len(places) == 0:
            return
        chosen = torch.multinomial(weight, len(places), generator=self.generator)
        centres = self.centres.clone()
        centres[places.to(centres.device)] = sample[chosen.to(sample.device)]
        self._centres = centres
        # With the count of the smallest of the others they still move, yet not with every single vector.
        self._counts[places] = self._counts[~which].min() if bool((~which).any()) else 0.0
        self._reseeded += len(places)
