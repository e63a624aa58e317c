"""One vector a layer, and the bases of probes that read it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeHead
from auricle.probes.heads.cgp import layers_in_use
from auricle.tokens.token_set import TokenBatch, TokenShape

Source = Literal["mean", "cls", "mean_with_cls"]
Scale = Literal["none", "length", "layer"]


def layer_vectors(batch: TokenBatch, source: str, *, scale: Scale) -> Tensor:
    """Return one vector a layer, `(B, L, D)`; layers may have different grids.

    Args:
        batch: with stacked layers.
        source: `mean` of the valid tokens, `cls` (the mean of several class tokens), or the mean over both together.
        scale: of each token before it is averaged: `none`; `layer` subtracts its mean and divides by its deviation
            over the width (layer norm without affine, eps 1e-6). `length` scales the resulting vector to length one.

    Raises:
        ConfigError: no layers are stacked, or class tokens are missing.
    """
    x, valid = batch.layers()
    if source != "mean":
        if batch.stack_cls is None:
            raise ConfigError(f"source {source!r} needs class tokens, and these tokens come without; use 'mean'")
        cls, whole = batch.stack_cls, valid.new_ones(*valid.shape[:2], batch.stack_cls.shape[2])
        x, valid = (cls, whole) if source == "cls" else (torch.cat([cls, x], 2), torch.cat([whole, valid], 2))
    there = valid.unsqueeze(-1)
    # Not there * x: padded tokens are arbitrary, and 0 * NaN is NaN.
    x = x if bool(valid.all()) else x.masked_fill(~there, 0)
    if scale == "layer":
        # A token of zeros stays zero: padding adds nothing.
        x = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    vectors = x.sum(2) / there.sum(2)
    return F.normalize(vectors, dim=-1) if scale == "length" else vectors


class LayerVectorHead(ProbeHead):
    """Base of heads over one vector a layer, `x (B, L, D)`; `source` and `scale` as in `layer_vectors`."""

    def __init__(self, source: str, scale: Scale, shape: TokenShape) -> None:
        super().__init__()
        if source != "mean" and shape.cls == 0:
            raise ConfigError(f"source {source!r} needs a class token, and this encoder has none; use 'mean'")
        self.source, self.scale = source, scale

    def read(self, batch: TokenBatch) -> Inputs:
        return Inputs(layer_vectors(batch, self.source, scale=self.scale))


class GatedHead(LayerVectorHead):
    """Base of heads that mix layers by softmax weights, the same for every clip.

    `gates (S, L)` are the weights' start before the softmax; `watch` records the effective number of layers.
    """

    def __init__(self, source: str, scale: Scale, shape: TokenShape, gates: Tensor) -> None:
        super().__init__(source, scale, shape)
        self.gates = torch.nn.Parameter(gates)

    def shares(self) -> Tensor:
        """Return each layer's share in the mixture, `(S, L)`."""
        return self.gates.detach().softmax(-1)

    def mix(self, x: Tensor) -> Tensor:
        """Mix layers `(B, L, D)` or `(S, B, L, D)` to `(S, B, D)`."""
        gates = self.gates.softmax(-1)
        return torch.einsum("sl,bld->sbd" if x.dim() == 3 else "sl,sbld->sbd", gates, x)

    def watch(self) -> dict[str, Tensor]:
        return {"layers": layers_in_use(self.shares())}
