"""Attention inside square windows of an image, shifted by half a window in every second block.

Source: Swin Transformer, arXiv 2103.14030, section 3. Images may have any size and positions
without content: incomplete windows are padded, and keys without content are never attended to.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.parts.attention import drop_path


def split_windows(x: Tensor, window: int) -> Tensor:
    """Cut `x (B, H, W, C)` into `(B, windows, window * window, C)`, row by row; H and W must divide by `window`."""
    B, H, W, C = x.shape
    x = x.view(B, H // window, window, W // window, window, C)
    return x.transpose(2, 3).reshape(B, -1, window * window, C)


def join_windows(x: Tensor, height: int, width: int) -> Tensor:
    """Undo `split_windows`: `(B, windows, window * window, C)` to `(B, height, width, C)`."""
    B, _, places, C = x.shape
    window = int(places**0.5)
    x = x.view(B, height // window, width // window, window, window, C)
    return x.transpose(2, 3).reshape(B, height, width, C)


def window_offsets(window: int) -> Tensor:
    """Return `(n, n)` int64, n = window * window: the row of the bias table for each query and key of a window."""
    place = torch.arange(window * window)
    row, column = place // window, place % window
    rows = row.unsqueeze(1) - row + window - 1
    columns = column.unsqueeze(1) - column + window - 1
    return rows * (2 * window - 1) + columns


class WindowAttention(nn.Module):
    """Multi-head attention within each window, with a learned bias per offset and head.

    Args:
        width: C.
        heads: attention heads; C must divide by it.
        window: rows and columns of a window.
        shift: of the windows, (rows, columns) or one number for both axes; 0: none.
    """

    no_decay = frozenset({"table"})

    offsets: Tensor

    def __init__(self, width: int, heads: int, window: int, shift: int | tuple[int, int] = 0) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.shift = (shift, shift) if isinstance(shift, int) else shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("offsets", window_offsets(window), persistent=False)

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the attention branch of normalised `x (B, H, W, C)`.

        Args:
            x: an image of any size.
            real: `(B, H, W)` bool, False at positions without content, whose output is undefined; None: all have.
        """
        H, W = x.shape[1:3]
        low, right = -H % self.window, -W % self.window
        if low or right:
            real = x.new_ones(x.shape[:3], dtype=torch.bool) if real is None else real
            x, real = F.pad(x, (0, 0, 0, right, 0, low)), F.pad(real, (0, right, 0, low))
        down, along = self.shift
        if any(self.shift):
            x = x.roll((-down, -along), (1, 2))
            real = None if real is None else real.roll((-down, -along), (1, 2))
        allowed = self._allowed(x, real)
        q, k, v = self.qkv(split_windows(x, self.window)).unflatten(3, (3, self.heads, -1)).unbind(3)
        bias = self.bias()
        if allowed is not None:
            bias = bias.masked_fill(~allowed.unsqueeze(2), -torch.inf)
        y = self.attend(q.transpose(2, 3), k.transpose(2, 3), v.transpose(2, 3), bias)
        y = join_windows(self.proj(y.transpose(2, 3).flatten(3)), H + low, W + right)
        if any(self.shift):
            y = y.roll((down, along), (1, 2))
        return y[:, :H, :W]

    def bias(self) -> Tensor:
        """Return what is added to the scores of a window, `(heads, n, n)`."""
        return self.table[self.offsets].permute(2, 0, 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Return the attention of `(B, windows, heads, n, size)`; `bias` is broadcast to the scores."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))

    def _allowed(self, x: Tensor, real: Tensor | None) -> Tensor | None:
        """Return which keys a query may attend to, `(B or 1, windows, n or 1, n)` bool, or None for all.

        Rolling brings positions from opposite edges into the last windows; they must not attend to each other. A query
        without any key would make the softmax 0/0; it attends to all.
        """
        allowed: Tensor | None = None
        if any(self.shift):
            H, W = x.shape[1:3]
            rows = torch.arange(H, device=x.device) >= H - self.shift[0]
            columns = torch.arange(W, device=x.device) >= W - self.shift[1]
            edge = split_windows((rows.unsqueeze(1) * 2 + columns)[None, :, :, None], self.window).squeeze(3)
            allowed = edge.unsqueeze(3) == edge.unsqueeze(2)
        if real is not None:
            keys = split_windows(real.unsqueeze(3), self.window).transpose(2, 3)
            allowed = keys if allowed is None else allowed & keys
            allowed = allowed | ~allowed.any(3, keepdim=True)
        return allowed


class WindowBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + feed_forward(norm(x))`, on an image, with stochastic depth.

    Args:
        width: C.
        heads: attention heads.
        window: rows and columns of a window.
        shift: see `WindowAttention`.
        hidden: width of the feed-forward layer.
        drop_path: chance that a sample skips a branch in training.
        eps: of the layer norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        window: int,
        shift: int | tuple[int, int],
        hidden: int,
        drop_path: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = WindowAttention(width, heads, window, shift)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return the feed-forward branch, without norm and residual."""
        return self.fc2(F.gelu(self.fc1(x)))

    def forward(self, x: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the block's output `(B, H, W, C)` and its feed-forward branch; `real` as in `WindowAttention`."""
        x = x + drop_path(self.attention(self.norm1(x), real), self.drop_path, self.training)
        branch = self.feed_forward(self.norm2(x))
        return x + drop_path(branch, self.drop_path, self.training), branch


class WindowStage(nn.Module):
    """Blocks of one width in a row.

    Args:
        blocks: at least one.
    """

    def __init__(self, blocks: Iterable[WindowBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the last block's output `(B, H, W, C)` and its feed-forward branch."""
        branch = x
        for block in self.blocks:
            x, branch = block(x, real)
        return x, branch


class PatchMerging(nn.Module):
    """Halve an image on both axes: four neighbours side by side, LayerNorm, and a linear layer to 2C.

    An odd axis is padded with zeros, and positions without content count as zeros.

    Args:
        width: C.
        eps: of the layer norm.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width, eps=eps)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return `(B, ceil(H / 2), ceil(W / 2), 2C)` and which of its positions have content (None: all)."""
        H, W = x.shape[1:3]
        if real is not None:
            x = x.masked_fill(~real.unsqueeze(3), 0.0)
            real = F.pad(real, (0, W % 2, 0, H % 2)).unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).any(4).any(2)
        x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
        x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], 3)
        return self.reduction(self.norm(x)), real
