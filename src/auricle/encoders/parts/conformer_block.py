"""The Conformer block: half a feed-forward, attention, convolution, half a feed-forward.

Source: Conformer, arXiv 2005.08100, sections 2.1 to 2.4.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.parts.batch_norm import normalise
from auricle.encoders.parts.conformer_attention import ConformerAttention, Positions
from auricle.encoders.parts.feature_map import FeatureMap

ConvNorm = Literal["batch", "layer", "group"]


class MaskedGroupNorm(nn.Module):
    """Norm of each clip over all channels and valid frames, with a scale and a shift per channel."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Normalise `x (B, N, D)`; `real (B, N)` is False where a frame is padding (None: nowhere)."""
        y = x if x.dtype == torch.float64 else x.float()
        if real is None:
            variance, mean = torch.var_mean(y, (1, 2), correction=0, keepdim=True)
        else:
            weight = real.unsqueeze(2).to(y.dtype)
            count = weight.sum(1, keepdim=True).clamp(min=1) * y.shape[2]
            mean = (y * weight).sum((1, 2), keepdim=True) / count
            variance = ((y - mean).square() * weight).sum((1, 2), keepdim=True) / count
        return (y - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class FeedForward(nn.Module):
    """LayerNorm, linear, swish, linear, with dropout after both."""

    def __init__(self, width: int, hidden: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch of `x (B, N, D)`."""
        y = F.dropout(F.silu(self.fc1(self.norm(x))), self.dropout, self.training)
        return F.dropout(self.fc2(y), self.dropout, self.training)


class ConvolutionModule(nn.Module):
    """LayerNorm, pointwise convolution to 2D, gate, depthwise convolution, norm, swish, pointwise convolution.

    Padding is zeroed before the depthwise convolution and counts in no statistics; batch norm shares its statistics
    among ranks. The convolutions have no bias, as in the models of transformers (the paper does not say).

    Args:
        width: D.
        kernel: of the depthwise convolution, centred (an even one reaches one frame further ahead than back).
        norm: `batch` (published), `layer` (over channels) or `group` (one group: over channels and frames of a clip).
        causal: the kernel reads earlier frames only.
        dropout: after the last pointwise convolution.
        eps: of the layer norms.
    """

    def __init__(
        self, width: int, kernel: int, norm: ConvNorm, causal: bool = False, dropout: float = 0.0, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.reach = (kernel - 1, 0) if causal else ((kernel - 1) // 2, kernel // 2)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.pointwise1 = nn.Linear(width, 2 * width, bias=False)
        self.depthwise = nn.Conv1d(width, width, kernel, groups=width, bias=False)
        self.middle: nn.BatchNorm1d | MaskedGroupNorm | nn.LayerNorm
        if norm == "batch":
            self.middle = nn.BatchNorm1d(width)
        else:
            self.middle = MaskedGroupNorm(width) if norm == "group" else nn.LayerNorm(width, eps=eps)
        self.pointwise2 = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the branch of `x (B, N, D)`; `real (B, N)` is False for padding, at the end (None: nowhere)."""
        y = F.glu(self.pointwise1(self.norm(x)), -1)
        if real is not None:
            y = y.masked_fill(~real.unsqueeze(2), 0.0)
        y = self.depthwise(F.pad(y.transpose(1, 2), self.reach))
        if isinstance(self.middle, nn.BatchNorm1d):
            y = normalise(self.middle, FeatureMap(y, None if real is None else real.sum(1))).x.transpose(1, 2)
        elif isinstance(self.middle, MaskedGroupNorm):
            y = self.middle(y.transpose(1, 2), real)
        else:
            y = self.middle(y.transpose(1, 2))
        return F.dropout(self.pointwise2(F.silu(y)), self.dropout, self.training)


class ConformerBlock(nn.Module):
    """`x + ff1 / 2`, `+ attention`, `+ convolution`, `+ ff2 / 2`, LayerNorm.

    The residual stream stays in the parameters' precision, also under autocast.

    Args:
        width: D.
        heads: attention heads.
        hidden: width of the feed-forward layers.
        kernel: of the depthwise convolution.
        positions: see `ConformerAttention`.
        conv_norm: norm inside the convolution module.
        causal: convolve earlier frames only (the mask of the attention is an argument of `forward`).
        dropout: on each branch before it is added, and inside the feed-forward layers.
        eps: of the layer norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        kernel: int = 31,
        positions: Positions = "relative",
        conv_norm: ConvNorm = "batch",
        causal: bool = False,
        dropout: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.ff1 = FeedForward(width, hidden, dropout, eps)
        self.norm_attention = nn.LayerNorm(width, eps=eps)
        self.attention = ConformerAttention(width, heads, positions)
        self.convolution = ConvolutionModule(width, kernel, conv_norm, causal, dropout, eps)
        self.ff2 = FeedForward(width, hidden, dropout, eps)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(
        self, x: Tensor, places: Tensor | None, mask: Tensor | None = None, real: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the block's output `(B, N, D)` and the branch of its second feed-forward, before it is halved.

        Args:
            x: frames `(B, N, D)`.
            places: table from `place_table`.
            mask: bool, broadcast to `(B, 1, N, N)`, True where keys count; None: all.
            real: `(B, N)` bool, False where a frame is padding; None: nowhere.
        """
        x = x + 0.5 * self.ff1(x)
        attended = self.attention(self.norm_attention(x), places, mask)
        x = x + F.dropout(attended, self.dropout, self.training)
        x = x + self.convolution(x, real)
        branch = self.ff2(x)
        return self.norm(x + 0.5 * branch), branch
