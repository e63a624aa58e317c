"""Discrete targets without training: a fixed random projection and the nearest of fixed random codes.

Source: BEST-RQ (Chiu et al. 2022, arXiv 2202.01855, section 3): x is projected by a fixed matrix drawn as Xavier
initialisation, normalised to length 1, and replaced by the index of the nearest of K fixed vectors, drawn from N(0, 1)
and normalised to length 1. The number of codes that are used depends on the normalisation of the input and, on some
data, on the seed of the projection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import nearest
from auricle.errors import ConfigError

InputNorm = Literal["none", "clip", "clip_channels", "token"]

# Similarities held at once: 2^24 float32 numbers are 64 MiB.
_AT_ONCE = 2**24
_CODES_AT_ONCE = 2048


class RandomProjectionQuantiser(nn.Module):
    """Turns vectors into codes by a random projection that is never trained.

    Attributes:
        projection: `(codebooks, width, dim)` buffer.
        codebook: `(codebooks, codes, dim)` buffer, rows of length 1.

    Args:
        width: W of an input vector.
        codes: K, codes in a codebook; 8192 in BEST-RQ, 4096 in MusicFM, 1024 in BEATs' first iteration.
        dim: width of a projected vector.
        seed: of the generator that draws projection and codes.
        codebooks: G, each with its own projection.
        norm: to mean 0 and variance 1: `clip_channels`: each channel over the clip's valid tokens (uses most codes on
            real audio); `clip`: one mean and deviation for the clip; `token`: each vector by itself; `none`.

    Raises:
        ConfigError: a number is not positive, or the normalisation is unknown.

    Examples:
        >>> RandomProjectionQuantiser(width=80, codes=64)(torch.randn(2, 10, 80)).shape
        torch.Size([2, 10, 1])
    """

    projection: Tensor
    codebook: Tensor

    def __init__(
        self,
        width: int,
        codes: int = 8192,
        dim: int = 16,
        seed: int = 0,
        codebooks: int = 1,
        norm: InputNorm = "clip_channels",
    ) -> None:
        super().__init__()
        sizes = {"width": width, "codes": codes, "dim": dim, "codebooks": codebooks}
        for name, size in sizes.items():
            if size < 1:
                raise ConfigError(f"RandomProjectionQuantiser: found {name}={size}, expected at least 1")
        if norm not in get_args(InputNorm):
            raise ConfigError(f"unknown normalisation {norm!r}{nearest(str(norm), get_args(InputNorm))}")
        self.norm: InputNorm = norm
        generator = torch.Generator().manual_seed(seed)
        bound = (6.0 / (width + dim)) ** 0.5
        self.register_buffer("projection", (torch.rand(codebooks, width, dim, generator=generator) * 2 - 1) * bound)
        self.register_buffer("codebook", F.normalize(torch.randn(codebooks, codes, dim, generator=generator), dim=-1))

    @property
    def codes(self) -> int:
        """K, the number of codes in a codebook."""
        return self.codebook.shape[1]

    @property
    def codebooks(self) -> int:
        """G, the number of codebooks."""
        return self.codebook.shape[0]

    @torch.no_grad()
    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the codes `(B, N, G)` int64 of vectors `(B, N, W)`, computed in float32 whatever the autocast.

        Args:
            x: the vectors, such as stacked frames.
            valid: `(B, N)` bool; padding takes no part in the normalisation, and its codes have no meaning.

        Raises:
            ConfigError: the vectors have another width.
        """
        width = self.projection.shape[1]
        if x.dim() != 3 or x.shape[2] != width:
            raise ConfigError(f"found vectors of shape {tuple(x.shape)}, expected (B, N, {width})")
        with torch.autocast(x.device.type, enabled=False):
            flat = normalised(x.float(), self.norm, valid).flatten(0, 1)
            codes = [
                nearest_codes(flat @ projection, codebook)
                for projection, codebook in zip(self.projection.float(), self.codebook.float(), strict=True)
            ]
        return torch.stack(codes, -1).view(*x.shape[:2], -1)


def normalised(x: Tensor, norm: InputNorm, valid: Tensor | None = None) -> Tensor:
    """Bring `x (B, N, W)` to mean 0 and variance 1, see `RandomProjectionQuantiser`; a constant becomes zero."""
    if norm == "none":
        return x
    if norm == "token":
        centred = x - x.mean(2, keepdim=True)
        return centred / centred.square().mean(2, keepdim=True).sqrt().clamp(min=1e-5)
    weight = x.new_ones(x.shape[:2]) if valid is None else valid.to(x.dtype)
    weight = weight.unsqueeze(2)
    count = weight.sum(1, keepdim=True).clamp(min=1)
    over_channels = norm == "clip"

    def mean(values: Tensor) -> Tensor:
        channels = (values * weight).sum(1, keepdim=True) / count
        return channels.mean(2, keepdim=True) if over_channels else channels

    centred = x - mean(x)
    return centred / mean(centred.square()).sqrt().clamp(min=1e-5)


def nearest_codes(x: Tensor, codebook: Tensor) -> Tensor:
    """Return the index `(n,)` of the code `(K, d)` of length 1 whose direction is nearest to that of each `x (n, d)`.

    The first wins among equals. No more than 64 MiB of similarities exist at once, whatever n and K.
    """
    x = F.normalize(x, dim=-1)
    rows = max(1, _AT_ONCE // min(codebook.shape[0], _CODES_AT_ONCE))
    return torch.cat([_nearest(part, codebook) for part in x.split(rows)]) if len(x) else x.new_zeros(0).long()


def _nearest(x: Tensor, codebook: Tensor) -> Tensor:
    best = x.new_full((x.shape[0],), -torch.inf)
    index = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
    for first in range(0, codebook.shape[0], _CODES_AT_ONCE):
        value, place = (x @ codebook[first : first + _CODES_AT_ONCE].T).max(1)
        index = torch.where(value > best, place + first, index)
        best = torch.maximum(value, best)
    return index


def code_perplexity(codes: Tensor, entries: int) -> float:
    """Return the perplexity of the histogram of codes: exp of its entropy, 1 ... `entries`.

    Raises:
        ConfigError: there are no codes.
    """
    if codes.numel() == 0:
        raise ConfigError("found no codes to measure the perplexity of")
    share = torch.bincount(codes.flatten().cpu(), minlength=entries).double() / codes.numel()
    return float(torch.exp(-(share * share.clamp(min=1e-300).log()).sum()))


@dataclass(frozen=True)
class SeedChoice:
    """The seed that uses its codes most evenly, and the perplexity of every seed tried (mean over codebooks)."""

    seed: int
    perplexities: dict[int, float]


def choose_projection_seed(
    batches: Sequence[tuple[Tensor, Tensor | None]],
    codes: int = 8192,
    dim: int = 16,
    codebooks: int = 1,
    norm: InputNorm = "clip_channels",
    seeds: Iterable[int] = range(8),
) -> SeedChoice:
    """Choose the seed of a projection by the perplexity of its codes on real data; the first wins among equals.

    Args:
        batches: pairs of vectors `(B, N, W)` and their valid tokens `(B, N)` or None; about 10,000 tokens are enough.
        codes: codes in a codebook.
        dim: width of a projected vector.
        codebooks: number of codebooks.
        norm: normalisation of the input.
        seeds: seeds to try.

    Raises:
        ConfigError: there are no batches, no seeds, or no valid token.
    """
    tried = list(seeds)
    if not batches or not tried:
        raise ConfigError(f"found {len(batches)} batches and {len(tried)} seeds, expected at least one of each")
    found: dict[int, float] = {}
    for seed in tried:
        quantiser = RandomProjectionQuantiser(batches[0][0].shape[-1], codes, dim, seed, codebooks, norm)
        quantiser.to(batches[0][0].device)
        parts = []
        for x, valid in batches:
            found_codes = quantiser(x, valid)
            parts.append(found_codes.flatten(0, 1) if valid is None else found_codes[valid])
        every = torch.cat(parts)
        found[seed] = sum(code_perplexity(column, codes) for column in every.T) / codebooks
    return SeedChoice(max(tried, key=lambda seed: found[seed]), found)
