"""AudioMosaic's attentive probe: attention over layers, not over time (arXiv 2605.14231, section 4, and its code)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auricle.config import Count
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, classify, linear_layer, repeat
from auricle.probes.heads.layer_gated import LayerNorms
from auricle.probes.heads.layer_vectors import LayerVectorHead, Source
from auricle.tokens.token_set import TokenBatch, TokenShape


@dataclass(frozen=True)
class LayerAttentiveConfig(ProbeConfig):
    """Settings of the layer-attentive probe.

    Published with the blocks' outputs, without the patch embedding (layer 0); the norm before the classifier starts
    from the checkpoint's `fc_norm` there and from the identity here.

    Attributes:
        source: tokens averaged in each layer; None: class token and tokens together (as published) where there is
            one, else the tokens.
        heads: attention heads.
        repeat_last: list the last layer twice, as published, where the encoder's output, which equals the last block's,
            is listed with the blocks' outputs.
    """

    reads: ClassVar[Literal["tokens", "layers"]] = "layers"
    source: Source | None = None
    heads: Count = 1
    repeat_last: bool = True


class LayerAttentive(LayerVectorHead):
    """`W LN(attention over E entries) + b` at S settings; `2 D^2 + 3 D + 2 E D + C (D + 1)` parameters each.

    With one query, keys and values need not be projected for each entry: see `mhca`.
    """

    def __init__(
        self, config: LayerAttentiveConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        # Every token is normalised before the mean; scale and shift of that norm commute with it.
        super().__init__(config.source or ("mean_with_cls" if shape.cls else "mean"), "layer", shape)
        if shape.width % config.heads:
            raise ConfigError(f"vectors of width {shape.width} can't be split into {config.heads} heads; use a divisor")
        self.config = config
        D, entries = shape.width, shape.layers + int(config.repeat_last)
        self.query = repeat(_small((D,), generator), settings)
        self.key = repeat(_small((D, D), generator), settings)
        self.value = repeat(_small((D, D), generator), settings)
        self.entry_norms = LayerNorms(settings, (entries, D))
        self.norm = LayerNorms(settings, (D,))
        self.weight, self.bias = linear_layer(classes, D, settings, generator)

    def read(self, batch: TokenBatch) -> Inputs:
        x = super().read(batch).x
        return Inputs(torch.cat([x, x[:, -1:]], 1) if self.config.repeat_last else x)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        entries = self.entry_norms.affine(inputs.x)
        seen = torch.einsum("sbhe,sbed->sbhd", self._attention(entries), entries)
        S, B, H, D = seen.shape
        pooled = torch.einsum("sbhd,shkd->sbhk", seen, self.value.view(S, H, D // H, D)).reshape(S, B, D)
        return classify(self.norm(pooled), self.weight, self.bias)

    def attention(self, inputs: Inputs) -> Tensor:
        """Return the weight of each entry, averaged over heads, `(S, B, E)`."""
        return self._attention(self.entry_norms.affine(inputs.x)).mean(2)

    def _attention(self, entries: Tensor) -> Tensor:
        S, _, _, D = entries.shape
        H = self.config.heads
        read = torch.einsum("shkd,shk->shd", self.key.view(S, H, D // H, D), self.query.view(S, H, D // H))
        return (torch.einsum("sbed,shd->sbhe", entries, read) * (D // H) ** -0.5).softmax(-1)


def _small(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.nn.init.trunc_normal_(torch.empty(shape), std=0.02, a=-2.0, b=2.0, generator=generator)
