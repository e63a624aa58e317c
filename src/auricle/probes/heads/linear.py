"""Linear probes: one linear layer on one vector a clip, or on several concatenated (arXiv 2509.24901)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from auricle.config import Count
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, classify, linear_layer
from auricle.probes.heads.vectors import Source, VectorHead, pool, source_width
from auricle.tokens.token_set import TokenBatch, TokenShape

Part = Literal[Source, "map"]


# Of standardised vectors, by `benchmarks/linear_range.py` on corpora that no page reports probes of: of 64 searches
# five end at its upper edge, none at the lower one; wider ranges score test clips no better. The paper's ends at 7e-3.
_STANDARDISED = (1e-4, 1e-1)


@dataclass(frozen=True)
class LinearConfig(ProbeConfig):
    """Settings of the linear probe.

    Attributes:
        source: the vector. `pooled`: pooled as in the encoder's pre-training; `cls`: its class token
            (several are concatenated); `mean`, `max`, `std`: over the valid tokens; `mean_t_flat_f`: mean over time,
            frequency rows concatenated, `F * D` wide (as MSM-MAE and M2D).
        normalise: `train` standardises each dimension by mean and standard deviation over the training clips before
            the linear layer, as the parameter-free batch norm of MAE's linear probe does in the limit; `none` is the
            plain `W g + b` of the paper. Features of different encoders differ in scale by orders of magnitude, and
            the search range of learning rates is fixed, so the default is `train`, with a grid from 1e-4 to 0.1; the
            paper's range, 1e-4 to 7e-3, is that of `none` and of `SearchConfig.published()`.
    """

    source: Source = "pooled"
    normalise: Literal["train", "none"] = "train"

    @property
    def grid_range(self) -> tuple[float, float]:
        return _STANDARDISED if self.normalise == "train" else self.lr_range


class Linear(VectorHead):
    """`W g + b` at S settings; `C (D + 1)` parameters each."""

    def __init__(
        self, config: LinearConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        width = source_width(config.source, shape)
        super().__init__(partial(pool, source=config.source), config.normalise, width, settings)
        self.weight, self.bias = linear_layer(classes, width, settings, generator)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        return classify(self.standardised(inputs), self.weight, self.bias)


@dataclass(frozen=True)
class LinearConcatConfig(ProbeConfig):
    """Settings of the linear probe on concatenated vectors.

    The paper does not specify what is concatenated. The whole map would be hundreds of thousands wide and needs clips
    of one length. The default is usual for image encoders: class token and mean of the tokens, `2 D` wide; for encoders
    without class token, mean and maximum of the tokens. The part `map` is the map at a coarse resolution.

    Attributes:
        parts: vectors to concatenate: sources as in `LinearConfig`, and `map`: the mean over each of `bins` equal
            stretches of a clip's time, frequency rows kept, `bins * F * D` wide. None: the default above.
        bins: stretches of time of `map`.
        normalise: `train` standardises each dimension by the training clips, as in `LinearConfig`.
    """

    parts: tuple[Part, ...] | None = None
    bins: Count = 4
    normalise: Literal["train", "none"] = "train"

    def __post_init__(self) -> None:
        if self.parts == ():
            raise ConfigError("parts is empty; expected at least one, or nothing for the default")

    @property
    def grid_range(self) -> tuple[float, float]:
        return _STANDARDISED if self.normalise == "train" else self.lr_range


class LinearConcat(VectorHead):
    """`W [g1; g2; ...] + b` at S settings."""

    def __init__(
        self, config: LinearConcatConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        default: tuple[Part, ...] = ("cls", "mean") if shape.cls else ("mean", "max")
        self.parts, self.bins = config.parts or default, config.bins
        width = sum(
            config.bins * shape.freq * shape.width if part == "map" else source_width(part, shape)
            for part in self.parts
        )
        super().__init__(self._concatenate, config.normalise, width, settings)
        self.weight, self.bias = linear_layer(classes, width, settings, generator)

    def _concatenate(self, batch: TokenBatch) -> Tensor:
        vectors = [coarse_map(batch, self.bins) if p == "map" else pool(batch, p) for p in self.parts]
        return torch.cat(vectors, 1)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        return classify(self.standardised(inputs), self.weight, self.bias)


def coarse_map(batch: TokenBatch, bins: int) -> Tensor:
    """Average the map over equal stretches of each clip's own time, frequency rows kept: `(B, bins * F * D)`.

    A clip's time ends with its last valid token. Stretch k of T columns covers floor(k T / bins) to
    ceil((k + 1) T / bins), as adaptive pooling does; stretches overlap where T is no multiple of `bins`. A row
    without a valid token in a stretch is zero there.
    """
    T, F = batch.grid.time, batch.grid.freq
    B, _, D = batch.x.shape
    valid = batch.valid.view(B, T, F)
    x = batch.x.masked_fill(~batch.valid.unsqueeze(-1), 0).view(B, T, F, D)
    column = torch.arange(T, device=x.device)
    length = (valid.any(2) * (column + 1)).amax(1)
    k = torch.arange(bins, device=x.device)
    first = (k * length[:, None]).div(bins, rounding_mode="floor")
    last = -(-((k + 1) * length[:, None])).div(bins, rounding_mode="floor")
    inside = ((column >= first[..., None]) & (column < last[..., None])).to(x.dtype)
    total = torch.einsum("bkt,btfd->bkfd", inside, x)
    count = torch.einsum("bkt,btf->bkf", inside, valid.to(x.dtype))
    return (total / count.clamp(min=1).unsqueeze(-1)).reshape(B, bins * F * D)
