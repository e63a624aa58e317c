"""A decoder whose attention stays in small windows of the token grid, shifted in every second block.

Neighbouring patches of a spectrogram are the most informative about each other; global attention adds little and costs
the square of the number of patches. Sources: Audio-MAE, arXiv 2207.06405, section 3, and its code, whose blocks are
those of Swin V2 (arXiv 2111.09883, sections 3.2 and 3.3) in their first re-implementation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Count, Natural, ShareBelowOne
from auricle.encoders.contract import Tokens
from auricle.encoders.parts.first_weights import LinearInit
from auricle.encoders.parts.shifted_windows import WindowAttention, WindowBlock
from auricle.errors import ConfigError
from auricle.objectives.predictive.decoder import TransformerDecoder, TransformerDecoderConfig

# Hidden width of the map from offsets to biases.
_OFFSET_HIDDEN = 384
_LEAST_TAU = 0.01


@dataclass(frozen=True)
class WindowDecoderConfig(TransformerDecoderConfig):
    """Settings of a decoder with shifted local windows; the defaults are Audio-MAE's.

    Attributes:
        window: time steps and bands of a window.
        shift: (time steps, bands) that the windows of blocks 2, 4, ... are moved by, each below `window`.
        bias_dropout: in training, of both layers of the map from offsets to biases.
    """

    depth: Count = 16
    init: LinearInit = "xavier_uniform"
    window: Count = 4
    shift: tuple[Natural, Natural] = (2, 0)
    bias_dropout: ShareBelowOne = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.shift) >= self.window:
            raise ConfigError(
                f"found windows of {self.window} tokens shifted by {self.shift}; expected shifts below the window"
            )


class CosineWindowAttention(WindowAttention):
    """Window attention by cosines over a learned temperature per head, its biases a small map of log-spaced offsets.

    Args:
        width: C.
        heads: attention heads; C must divide by it.
        window: rows and columns of a window.
        shift: of the windows, (rows, columns) or one number for both axes; 0: none.
        bias_dropout: see `WindowDecoderConfig`.
    """

    steps: Tensor

    def __init__(
        self, width: int, heads: int, window: int, shift: int | tuple[int, int] = 0, bias_dropout: float = 0.0
    ) -> None:
        super().__init__(width, heads, window, shift)
        del self.table, self.offsets
        self.bias_dropout = bias_dropout
        self.tau = nn.Parameter(torch.ones(heads))
        self.offset_hidden, self.offset_bias = nn.Linear(2, _OFFSET_HIDDEN), nn.Linear(_OFFSET_HIDDEN, heads)
        place = torch.arange(window * window)
        steps = torch.stack([x.unsqueeze(1) - x for x in (place // window, place % window)], -1).double()
        self.register_buffer("steps", (steps.sign() * steps.abs().log1p()).float(), persistent=False)

    def bias(self) -> Tensor:
        hidden = F.dropout(F.relu(self.offset_hidden(self.steps.to(self.tau.dtype))), self.bias_dropout, self.training)
        return F.dropout(self.offset_bias(hidden), self.bias_dropout, self.training).permute(2, 0, 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        q = F.normalize(q, dim=-1) / self.tau.clamp(min=_LEAST_TAU).view(-1, 1, 1)
        k = F.normalize(k, dim=-1).to(v.dtype)
        return F.scaled_dot_product_attention(q.to(v.dtype), k, v, attn_mask=bias.to(v.dtype), scale=1.0)


class CosineWindowBlock(WindowBlock):
    """`x + norm(attention(x))`, then `x + norm(feed_forward(x))`, on an image, with `CosineWindowAttention`."""

    def __init__(
        self, width: int, heads: int, window: int, shift: int | tuple[int, int], hidden: int, bias_dropout: float
    ) -> None:
        super().__init__(width, heads, window, shift, hidden, eps=1e-6)
        self.attention = CosineWindowAttention(width, heads, window, shift, bias_dropout)

    def forward(self, x: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = x + self.norm1(self.attention(x, real))
        branch = self.norm2(self.feed_forward(x))
        return x + branch, branch


class WindowDecoder(TransformerDecoder):
    """A `TransformerDecoder` of window blocks.

    Class tokens lie in no window and take no part. Tokens of padding are not attended to.
    """

    config: WindowDecoderConfig

    def _block(self, number: int) -> nn.Module:
        c, shift = self.config, self.config.shift if number % 2 else 0
        return CosineWindowBlock(c.width, c.heads, c.window, shift, int(c.width * c.mlp_ratio), c.bias_dropout)

    def forward(self, out: Tokens, valid: Tensor | None = None) -> Tokens:
        grid = out.grid
        image: Tensor = self._placed(out).unflatten(1, (grid.time, grid.freq))
        real = None if valid is None else valid.unflatten(1, (grid.time, grid.freq))
        for block in self.blocks:
            image, _ = block(image, real)
        return Tokens(self.norm(image).flatten(1, 2), grid, valid=valid)
