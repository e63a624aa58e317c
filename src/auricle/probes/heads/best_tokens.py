"""The tokens that score best against each vector in each clip, without holding all scores at once.

Letters: R rows of vectors (all settings in a row), B clips, N tokens, D width, K tokens kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Scores held at once: about the second-level cache of a core (fp32), so that the maximum is found before they leave
# it; a GPU needs launches that fill it.
_CPU_CHUNK = 2**20
_GPU_CHUNK = 2**26
# Below any cosine, and finite: packing it with a token's index must not make a NaN.
_MASKED = -4.0


def fast_precision(precision: str, device: torch.device) -> bool:
    """Return whether similarities are computed in bfloat16 while training."""
    if precision == "auto":
        return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return precision == "fast"


def best_token(
    unit: Tensor, x: Tensor, valid: Tensor | None, *, fast: bool, search: bool = True, masked: float = _MASKED
) -> tuple[Tensor, Tensor]:
    """Find each vector's best token in each clip, a cache-sized piece of the scores at a time.

    Args:
        unit: `(R, D)` prototypes of length one, or any vectors with a `masked` below every score.
        x: `(B, N, D)` tokens of length one, or any.
        valid: `(B, N)` bool or None.
        fast: multiply in bfloat16.
        search: find the winners too; otherwise (and in float32) the second result is undefined.
        masked: score of invalid tokens.

    Returns:
        `(R, B)` the largest score (`masked` in a clip without valid tokens), and `(R, B)` int64 its token, the first
        of equal ones (first 65,536 tokens where `fast`).
    """
    R, (B, N, _) = unit.shape[0], x.shape
    # The index of a token is packed into 16 bits.
    fast = fast and N <= 2**16
    best = torch.empty(R, B, device=x.device, dtype=torch.float32 if fast else x.dtype)
    winner = torch.empty(R, B, device=x.device, dtype=torch.int64)
    for r, b, s, invalid in _pieces(unit, x, valid, fast):
        if invalid is not None:
            s.masked_fill_(invalid, masked)
        if fast:
            best[r, b], winner[r, b] = _packed_max(s)
        elif search:
            best[r, b], winner[r, b] = s.max(-1)
        else:
            best[r, b] = s.amax(-1)
    return best, winner


def top_tokens(unit: Tensor, x: Tensor, valid: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Find each prototype's `count` best tokens in each clip; a clip with fewer yields invalid ones last, at -4.

    Arguments are those of `best_token`; returns similarities `(R, B, K)` and places `(R, B, K)` int64, best first,
    K = min(count, N).
    """
    R, (B, N, _) = unit.shape[0], x.shape
    K = min(count, N)
    best = torch.empty(R, B, K, device=x.device, dtype=x.dtype)
    place = torch.empty(R, B, K, device=x.device, dtype=torch.int64)
    for r, b, s, masked in _pieces(unit, x, valid, fast=False):
        if masked is not None:
            s.masked_fill_(masked, _MASKED)
        best[r, b], place[r, b] = s.topk(K, -1)
    return best, place


def extreme_tokens(
    unit: Tensor, x: Tensor, valid: Tensor | None, *, fast: bool
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Find each prototype's least and most similar token of each clip from one multiplication.

    Arguments are those of `best_token`; similarities lie between -2 and 2. Returns (similarity `(R, B)`, place
    `(R, B)` int64) of the least similar, and of the most similar.
    """
    R, (B, N, _) = unit.shape[0], x.shape
    fast = fast and N <= 2**16
    dtype = torch.float32 if fast else x.dtype
    low, high = (torch.empty(R, B, device=x.device, dtype=dtype) for _ in range(2))
    lowest, highest = (torch.empty(R, B, device=x.device, dtype=torch.int64) for _ in range(2))
    for r, b, s, masked in _pieces(unit, x, valid, fast):
        if masked is not None:
            s.masked_fill_(masked, _MASKED)
        high[r, b], highest[r, b] = _packed_max(s) if fast else s.max(-1)
        if masked is not None:
            s.masked_fill_(masked, -_MASKED)
        if fast:
            least, lowest[r, b] = _packed_max(s.neg_())
            low[r, b] = -least
        else:
            low[r, b], lowest[r, b] = s.min(-1)
    return (low, lowest), (high, highest)


def similarities(values: Tensor, places: Tensor, unit: Tensor, x: Tensor) -> Tensor:
    """Return found scores with their gradient: each is the product of a vector and the token at its place.

    The tokens are frozen and get no gradient.

    Args:
        values: `(R, B)` as found.
        places: `(R, B)` int64, their tokens.
        unit: `(R, D)` vectors.
        x: `(B, N, D)` tokens.
    """
    found: Tensor = _AtPlaces.apply(unit, x, values, places)
    return found


class _AtPlaces(torch.autograd.Function):
    """Products of vectors with one token each, whose backward reads those tokens only."""

    @staticmethod
    def forward(ctx: Any, unit: Tensor, x: Tensor, values: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(x, places)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        x, places = ctx.saved_tensors
        rows = places + torch.arange(x.shape[0], device=x.device) * x.shape[1]
        g = grads[0].to(x.dtype).contiguous()
        return F.embedding_bag(rows, x.flatten(0, 1), per_sample_weights=g, mode="sum"), None, None, None


def _pieces(
    unit: Tensor, x: Tensor, valid: Tensor | None, fast: bool
) -> Iterator[tuple[slice, slice, Tensor, Tensor | None]]:
    """Yield rows, clips, their scores `(r, b, N)` and which of these are of invalid tokens."""
    R, (B, N, D) = unit.shape[0], x.shape
    if fast:
        unit, x = unit.bfloat16(), x.bfloat16()
    limit = _CPU_CHUNK if x.device.type == "cpu" else _GPU_CHUNK
    clips = max(1, min(B, limit // (R * N)))
    rows = max(1, min(R, limit // (clips * N)))
    for b in range(0, B, clips):
        tokens = x[b : b + clips].reshape(-1, D).t()
        masked = None if valid is None else ~valid[b : b + clips]
        for r in range(0, R, rows):
            s = (unit[r : r + rows] @ tokens).view(-1, x[b : b + clips].shape[0], N)
            yield slice(r, r + rows), slice(b, b + clips), s, masked


def _packed_max(s: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over the last axis of bfloat16 similarities, and its place."""
    # bfloat16 as float32 has sixteen free low bits: with the index in them one maximum yields both, at a third of the
    # cost of a maximum with indices.
    place = torch.arange(s.shape[-1], device=s.device, dtype=torch.int32)
    packed = s.float().view(torch.int32).bitwise_or_(place).view(torch.float32).amax(-1).view(torch.int32)
    return (packed & -0x10000).view(torch.float32), (packed & 0xFFFF).long()
