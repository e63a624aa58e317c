"""The transformer block of the waveform encoders and of BEATs: either norm order, relative bias, dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.contract import Grid, Layer
from auricle.encoders.parts.attention import joint_attention
from auricle.encoders.parts.relative_bias import PositionGate


class BiasedBlock(nn.Module):
    """Self-attention and feed-forward, each with a residual and a norm.

    `pre`: `x + branch(norm(x))`; `post`: `norm(residual_scale * x + branch(x))`.

    Args:
        width: D.
        heads: attention heads; D must divide by it.
        hidden: width of the feed-forward layer.
        norm: `post` (wav2vec 2.0 base, BEATs) or `pre` (the large models).
        gate: `input`: the relative bias is gated by the attention's input (WavLM); `query`: by its projected queries
            (BEATs); `none`: the bias, if there is one, is not gated.
        residual_scale: DeepNorm's alpha, `post` only.
        dropout: of both branches.
        attention_dropout: of attention weights.
        activation_dropout: within the feed-forward branch.
        eps: of the norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        norm: Literal["post", "pre"] = "post",
        gate: Literal["none", "input", "query"] = "none",
        residual_scale: float = 1.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.heads, self.order, self.residual_scale = heads, norm, residual_scale
        self.dropout, self.attention_dropout, self.activation_dropout = dropout, attention_dropout, activation_dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.gated_by = gate
        self.gate = None if gate == "none" else PositionGate(heads, width // heads)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, deep: float | None = None) -> None:
        """Draw fresh weights: normal of std 0.02 (BERT's), zero biases, unit norms.

        Args:
            generator: CPU generator.
            deep: DeepNorm's beta: Xavier normal instead, values, output and feed-forward with this gain.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, PositionGate):
                nn.init.ones_(module.scale)
        if deep is not None:
            query, key, value = self.qkv.weight.chunk(3)
            for weight, gain in (
                (query, 1.0),
                (key, 1.0),
                (value, deep),
                (self.proj.weight, deep),
                (self.fc1.weight, deep),
                (self.fc2.weight, deep),
            ):
                nn.init.xavier_normal_(weight, gain=gain, generator=generator)

    def attention(self, x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """Return the attention branch of `x (B, K, D)`.

        Args:
            x: its input.
            mask: `(B, 1, 1, K)` bool, True where keys count; None: all.
            bias: `(B', H, K, K)`, added to the scores (gated first, where the block has a gate); None: nothing.
        """
        B, K, D = x.shape
        qkv = self.qkv(x)
        dropout = self.attention_dropout if self.training else 0.0
        if bias is None and dropout == 0.0:
            return self.proj(joint_attention(qkv, self.heads, mask))
        q, k, v = qkv.view(B, K, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        allowed = mask
        if bias is not None:
            if self.gate is not None:
                source = q if self.gated_by == "query" else x.unflatten(2, (self.heads, -1)).transpose(1, 2)
                bias = bias * self.gate(source)
            allowed = (bias if mask is None else bias.masked_fill(~mask, -math.inf)).to(q.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout)
        return self.proj(y.transpose(1, 2).reshape(B, K, D))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return the feed-forward branch of `x (B, K, D)`."""
        return self.fc2(F.dropout(F.gelu(self.fc1(x)), self.activation_dropout, self.training))

    def _dropped(self, branch: Tensor) -> Tensor:
        return F.dropout(branch, self.dropout, self.training)

    def forward(self, x: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the block's output `(B, K, D)` and its feed-forward branch before dropout and residual."""
        if self.order == "pre":
            x = x + self._dropped(self.attention(self.norm1(x), mask, bias))
            branch = self.feed_forward(self.norm2(x))
            return x + self._dropped(branch), branch
        x = self.norm1(x * self.residual_scale + self._dropped(self.attention(x, mask, bias)))
        branch = self.feed_forward(x)
        return self.norm2(x * self.residual_scale + self._dropped(branch)), branch


class BiasedBlocks(nn.ModuleList):
    """A stack of blocks that share one relative bias.

    Args:
        blocks: in order.
        layer_drop: chance that a block is skipped in training; it then passes its input on.
    """

    def __init__(self, blocks: Sequence[BiasedBlock], layer_drop: float = 0.0) -> None:
        super().__init__(blocks)
        self.layer_drop = layer_drop

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, deep: float | None = None) -> None:
        """Draw fresh weights of every block; see `BiasedBlock.initialise`."""
        for block in self:
            if isinstance(block, BiasedBlock):
                block.initialise(generator, deep)

    def forward(
        self, x: Tensor, grid: Grid, layers: Sequence[int], mask: Tensor | None = None, bias: Tensor | None = None
    ) -> tuple[Tensor, tuple[Layer, ...] | None]:
        """Return the last block's output `(B, K, D)` and the requested layers (0: `x`), or None.

        The feed-forward output of a skipped block, and that of layer 0, is None.
        """
        seen = {0: Layer(x, grid)}
        for number, block in enumerate(self, 1):
            feedforward = None
            if not (self.training and self.layer_drop and float(torch.rand(())) < self.layer_drop):
                x, feedforward = block(x, mask, bias)
            if number in layers:
                seen[number] = Layer(x, grid, feedforward)
        return x, tuple(seen[layer] for layer in layers) if layers else None
