"""Self-attention with relative or rotary positions.

Sources: relative positions, Transformer-XL, arXiv 1901.02860, section 3.3, as the Conformer uses it, arXiv 2005.08100,
section 2.1; rotary positions, RoFormer, arXiv 2104.09864, section 3.2.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.parts.attention import joint_attention

Positions = Literal["relative", "rotary", "rotary_before", "none"]


def relative_sinusoids(count: int, width: int, like: Tensor) -> Tensor:
    """Return `(2 * count - 1, width)`: sines (even places) and cosines (odd) of the distances count - 1 ... 1 - count.

    A distance is query position minus key position. `like` gives device and precision.
    """
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    distance = torch.arange(count - 1, -count, -1, device=like.device, dtype=dtype).unsqueeze(1)
    angle = distance * _frequencies(width, like.device, dtype)
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)


def rotations(count: int, width: int, like: Tensor) -> Tensor:
    """Return `(2, count, width)`: cosines and sines of position times frequency.

    `width` is that of a head, d; the frequency of c also serves c + d/2. `like` gives device and precision.
    """
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    place = torch.arange(count, device=like.device, dtype=dtype).unsqueeze(1)
    angle = (place * _frequencies(width, like.device, dtype)).repeat(1, 2)
    return torch.stack([angle.cos(), angle.sin()])


def _frequencies(width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return 10000.0 ** (-torch.arange(0, width, 2, device=device, dtype=dtype) / width)


def place_table(x: Tensor, heads: int, positions: Positions) -> Tensor | None:
    """Return the position table for attention over `x (B, N, D)`, shared by all blocks; None without positions."""
    if positions == "none":
        return None
    if positions == "relative":
        return relative_sinusoids(x.shape[1], x.shape[2], x)
    return rotations(x.shape[1], x.shape[2] // heads, x)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate the pairs (c, c + d/2) of `x (..., N, d)` by the angles of `turns (2, N, d)`."""
    begin, end = x.chunk(2, -1)
    cos, sin = turns.to(x.dtype)
    return x * cos + torch.cat([-end, begin], -1) * sin


def by_distance_to_by_key(scores: Tensor) -> Tensor:
    """Turn scores by distance `(..., N, 2N - 1)` (columns N-1 ... 1-N) into scores by key `(..., N, N)`.

    Row i needs the N columns from N - 1 - i on. In flat memory each row's stretch begins 2N - 2 after the previous one.
    """
    N = scores.shape[-2]
    if N == 1:
        return scores
    flat = scores.flatten(-2)[..., N - 1 : N - 1 + N * (2 * N - 2)]
    return flat.unflatten(-1, (N, 2 * N - 2))[..., :N]


class ConformerAttention(nn.Module):
    """Multi-head self-attention over frames.

    `relative`: the score of query i and key j is ((q_i + u) k_j + (q_i + v) W r_{i-j}) / sqrt(d) with sinusoids r and
    learned vectors u, v per head. `rotary`: queries and keys are rotated after the projection, as published.
    `rotary_before`: the input of the query and key projections is rotated, as in transformers and the models trained
    with it (MusicFM); scores then depend on more than the distance. `none`: no positions.

    Args:
        width: D.
        heads: attention heads; D must divide by it.
        positions: one of the four.
    """

    no_decay = frozenset({"content_bias", "position_bias"})

    def __init__(self, width: int, heads: int, positions: Positions) -> None:
        super().__init__()
        self.heads, self.positions = heads, positions
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if positions == "relative":
            self.position_proj = nn.Linear(width, width, bias=False)
            self.content_bias = nn.Parameter(torch.zeros(heads, width // heads))
            self.position_bias = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(self, x: Tensor, places: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """Return the attention branch of normalised `x (B, N, D)`.

        Args:
            x: frames.
            places: from `place_table`.
            mask: bool, broadcast to `(B, 1, N, N)`, True where keys count; every query needs one. None: all count.
        """
        if places is None:
            return self.proj(joint_attention(self.qkv(x), self.heads, mask))
        if self.positions == "relative":
            return self.proj(self._relative(x, places, mask))
        if self.positions == "rotary":
            q, k, v = self._split(self.qkv(x)).unbind(0)
            q, k = rotate(q, places), rotate(k, places)
        else:
            turned = rotate(x.unflatten(2, (self.heads, -1)).transpose(1, 2), places).transpose(1, 2).flatten(2)
            D = x.shape[2]
            weight, bias = self.qkv.weight, self.qkv.bias
            q, k = self._split(F.linear(turned, weight[: 2 * D], bias[: 2 * D])).unbind(0)
            v = self._split(F.linear(x, weight[2 * D :], bias[2 * D :]))[0]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(y.transpose(1, 2).flatten(2))

    def _split(self, projected: Tensor) -> Tensor:
        """Turn `(B, N, p D)` into `(p, B, H, N, d)`."""
        d = self.proj.in_features // self.heads
        return projected.unflatten(2, (-1, self.heads, d)).permute(2, 0, 3, 1, 4)

    def _relative(self, x: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self._split(self.qkv(x)).unbind(0)
        table = self.position_proj(places).unflatten(1, (self.heads, -1))
        q_place = q + self.position_bias.to(q.dtype).unsqueeze(1)
        by_distance = q_place @ table.permute(1, 2, 0)
        bias = by_distance_to_by_key(by_distance) * q.shape[-1] ** -0.5
        if mask is not None:
            bias = bias.masked_fill(~mask, -torch.inf)
        q = q + self.content_bias.to(q.dtype).unsqueeze(1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return y.transpose(1, 2).flatten(2)
