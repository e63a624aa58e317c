"""Attention biases from the distance of two tokens: learned by buckets, or falling linearly.

Sources: the buckets are T5's, arXiv 1910.10683 (section 2.1), with the sizes of WavLM, arXiv 2110.13900 (section 3.2),
and BEATs, arXiv 2212.09058; the gate is WavLM's, which computes it from the layer's input; BEATs computes it from the
projected queries. ALiBi is arXiv 2108.12409, symmetric and with a learned scale as in data2vec 2.0, arXiv 2212.07525.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from auricle.errors import ConfigError


def relative_buckets(offsets: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Return the bucket of each offset (key position - query position), int64 in 0 ... buckets - 1.

    Half of the buckets are for later keys. Within a half, distances below a quarter of all buckets have one each;
    beyond, buckets widen logarithmically up to `max_distance`, and the last takes all larger distances.
    """
    half = buckets // 2
    exact = half // 2
    distance = offsets.abs()
    # Single precision on purpose: at the edges of buckets it rounds as the published code does.
    wide = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    far = (exact + wide).to(torch.int64).clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + (offsets > 0).to(torch.int64) * half


def alibi_slopes(heads: int) -> list[float]:
    """Return each head's slope: a geometric series from 2^(-8 / heads).

    Where `heads` is no power of two, the series of the next smaller one, then every other of the next larger one.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8.0 * (head + 1) / power) for head in range(power)]
    return slopes + [2.0 ** (-4.0 * (head + 1) / power) for head in range(0, 2 * power, 2)][: heads - power]


class RelativeBias(nn.Module):
    """A learned bias per bucket of distances and head.

    Args:
        heads: attention heads.
        buckets: a multiple of 4.
        max_distance: beyond it, all distances share a bucket; more than a quarter of the buckets.

    Raises:
        ConfigError: there is no logarithmic part.
    """

    def __init__(self, heads: int, buckets: int = 320, max_distance: int = 800) -> None:
        super().__init__()
        if buckets < 4 or buckets % 4:
            raise ConfigError(f"found {buckets} buckets of relative positions, expected a positive multiple of 4")
        if max_distance <= buckets // 4:
            raise ConfigError(f"max_distance {max_distance} must exceed a quarter of the {buckets} buckets")
        self.buckets, self.max_distance = buckets, max_distance
        self.table = nn.Parameter(torch.zeros(buckets, heads))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights: normal of std 0.02."""
        nn.init.normal_(self.table, std=0.02, generator=generator)

    def forward(self, places: Tensor, tokens: int) -> Tensor:
        """Return `(B', H, K, K)`, to be added to the scores of queries (rows) and keys (columns).

        Args:
            places: `(B', K)` int64 position of each token; B' is 1 where all clips have the same.
            tokens: N; positions lie in 0 ... N - 1.
        """
        span = torch.arange(1 - tokens, tokens, device=places.device)
        values = self.table[relative_buckets(span, self.buckets, self.max_distance)]
        offsets = places.unsqueeze(1) - places.unsqueeze(2) + (tokens - 1)
        return values[offsets].permute(0, 3, 1, 2)


class AlibiBias(nn.Module):
    """Minus the distance times the head's slope times a learned, non-negative scale of the head.

    Args:
        heads: attention heads.
    """

    slopes: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(heads))
        self.register_buffer("slopes", torch.tensor(alibi_slopes(heads)), persistent=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Set the scales to 1; nothing is drawn."""
        nn.init.ones_(self.scale)

    def forward(self, places: Tensor, tokens: int) -> Tensor:
        """Return `(B', H, K, K)`; see `RelativeBias.forward`."""
        distance = (places.unsqueeze(1) - places.unsqueeze(2)).abs().to(self.scale.dtype)
        return -distance.unsqueeze(1) * (self.slopes * self.scale.clamp(min=0)).view(1, -1, 1, 1)


class PositionGate(nn.Module):
    """Gate of the shared bias: a factor per query and head.

    a (b c - 1) + 2, with a and b sigmoids of sums of four projections each, and c a learned number of the head.

    Args:
        heads: attention heads.
        head_width: channels of a head.
    """

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        self.project = nn.Linear(head_width, 8)
        self.scale = nn.Parameter(torch.ones(heads))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, H, K, 1)` from each head's part `x (B, H, K, d)` of the layer's input or of its queries."""
        a, b = self.project(x).unflatten(-1, (2, 4)).sum(-1).sigmoid().split(1, -1)
        return a * (b * self.scale.view(-1, 1, 1) - 1.0) + 2.0
