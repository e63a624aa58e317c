"""Linear probe on several views of the token map, concatenated (arXiv 2509.24901, `linearc`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, classify, linear_init, repeat
from auricle.probes.heads.vectors import Source, VectorHead, pool, source_width
from auricle.tokens.token_set import TokenBatch, TokenShape

_PARTS = (*get_args(Source), "map")


@dataclass(frozen=True)
class LinearConcatConfig(ProbeConfig):
    """Settings of the linear probe on concatenated vectors.

    What exactly the paper concatenates is not known. The whole map in a row would be hundreds of thousands wide and
    needs clips of one length. Chosen here is what is usual for encoders of images: class token and mean of the
    tokens, `2 D` wide; for encoders without class token, mean and maximum of the tokens. The part `map` keeps the
    map itself, at a coarse resolution.

    Attributes:
        parts: what is concatenated: sources as in `LinearConfig`, and `map`: the mean over each of `bins` equal
            stretches of a clip's time, frequency rows kept, `bins * F * D` wide. None: chosen by class token as
            said above.
        bins: stretches of time of `map`.
        normalise: `train` standardises each dimension by the training clips, as in `LinearConfig`.
    """

    parts: tuple[str, ...] | None = None
    bins: int = 4
    normalise: Literal["train", "none"] = "train"

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> LinearConcat:
        """Build the head.

        Raises:
            ConfigError: a part is unknown, there is none, `bins` is below one, or a class token is missing.
        """
        parts = (("cls", "mean") if shape.cls else ("mean", "max")) if self.parts is None else self.parts
        for part in parts:
            if part not in _PARTS:
                raise ConfigError(f"unknown part {part!r}{nearest(part, _PARTS)}")
        if not parts or self.bins < 1:
            raise ConfigError(f"found parts {parts} and {self.bins} bins; expected at least one of each")
        return LinearConcat(self, parts, shape, classes, settings, generator)


class LinearConcat(VectorHead):
    """`W [g1; g2; ...] + b` at S settings."""

    def __init__(
        self,
        config: LinearConcatConfig,
        parts: tuple[str, ...],
        shape: TokenShape,
        classes: int,
        settings: int,
        generator: torch.Generator,
    ) -> None:
        self.parts, self.bins = parts, config.bins
        widths = [
            config.bins * shape.freq * shape.width if part == "map" else source_width(part, shape)  # type: ignore[arg-type]
            for part in parts
        ]
        width = sum(widths)
        super().__init__(self._concatenate, config.normalise, width, settings)
        self.weight = repeat(linear_init((classes, width), width, generator), settings)
        self.bias = repeat(linear_init((classes,), width, generator), settings)

    def _concatenate(self, batch: TokenBatch) -> Tensor:
        vectors = [coarse_map(batch, self.bins) if p == "map" else pool(batch, p) for p in self.parts]  # type: ignore[arg-type]
        return torch.cat(vectors, 1)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, B, C)`."""
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
