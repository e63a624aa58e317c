"""The transformer block: attention and feed-forward, each with its norm (before or after) and its residual."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.parts.attention import drop_path, joint_attention


class TransformerBlock(nn.Module):
    """Attention and feed-forward branches with exact GELU, dropout and stochastic depth.

    Pre-norm (vision transformers, arXiv 2010.11929): `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
    Post-norm (the original transformer, arXiv 1706.03762; BERT, EAT): `norm(x + attention(x))`, then
    `norm(x + feed_forward(x))`.

    The residual stream stays in the parameters' precision, also under autocast; only the branches are narrowed.

    Args:
        width: D.
        heads: attention heads; D must divide by it.
        hidden: width of the feed-forward layer.
        drop_path: chance that a sample skips a branch in training.
        eps: of the layer norms.
        qkv_bias: queries, keys and values have a bias.
        post_norm: norms come after the residual sums, not before the branches.
        layer_scale: start of a learned factor per channel on each branch (arXiv 2103.17239); None: no such factors.
        dropout: chance that an entry of a branch's output is zeroed in training.
        attention_dropout: chance that an attention weight is zeroed in training.
        gate: the attention's output is multiplied by a sigmoid of a linear layer of its input, before its projection
            (BAT).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        drop_path: float = 0.0,
        eps: float = 1e-6,
        *,
        qkv_bias: bool = True,
        post_norm: bool = False,
        layer_scale: float | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        gate: bool = False,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.drop_path, self.dropout, self.attention_dropout = drop_path, dropout, attention_dropout
        self.post_norm = post_norm
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.gate = nn.Linear(width, width) if gate else None
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.layer_scale = layer_scale
        self.scale1 = None if layer_scale is None else nn.Parameter(torch.full((width,), layer_scale))
        self.scale2 = None if layer_scale is None else nn.Parameter(torch.full((width,), layer_scale))

    @torch.no_grad()
    def reset_scales(self) -> None:
        """Reset the factors of layer scale."""
        for scale in (self.scale1, self.scale2):
            if scale is not None and self.layer_scale is not None:
                scale.fill_(self.layer_scale)

    def attention(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention branch of `x (B, N, D)`; `mask (B, 1, 1, N)` is True where keys count."""
        qkv = self.qkv(x)
        if not self.training or self.attention_dropout == 0.0:
            y = joint_attention(qkv, self.heads, mask)
        else:
            q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.attention_dropout)
            y = y.transpose(1, 2).flatten(2)
        return self.proj(y if self.gate is None else y * self.gate(x).sigmoid())

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return the feed-forward branch of `x (B, N, D)`."""
        return self.fc2(F.gelu(self.fc1(x)))

    def _residual(self, x: Tensor, branch: Tensor, scale: Tensor | None = None) -> Tensor:
        if self.dropout:
            branch = F.dropout(branch, self.dropout, self.training)
        if scale is not None:
            branch = branch * scale
        return x + drop_path(branch, self.drop_path, self.training)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the block's output `(B, N, D)` and its feed-forward branch.

        The branch is taken before dropout, layer scale, the residual sum and any norm, as data2vec's targets need it
        (arXiv 2202.03555).
        """
        if self.post_norm:
            x = self.norm1(self._residual(x, self.attention(x, mask), self.scale1))
            branch = self.feed_forward(x)
            return self.norm2(self._residual(x, branch, self.scale2)), branch
        x = self._residual(x, self.attention(self.norm1(x), mask), self.scale1)
        branch = self.feed_forward(self.norm2(x))
        return self._residual(x, branch, self.scale2), branch
