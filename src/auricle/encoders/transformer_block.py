"""The pre-norm transformer block: attention and feed-forward, each behind its own norm and residual."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.attention import joint_attention


class TransformerBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + feed_forward(norm(x))`, with exact GELU and stochastic depth.

    The residual stream stays in the parameters' precision, also under autocast; only the branches are narrowed.

    Args:
        width: D.
        heads: attention heads; D must divide by it.
        hidden: width of the feed-forward layer.
        drop_path: chance that a sample skips a branch in training. The draws come from torch's global generator,
            so that a replay of the same forward from a saved generator state makes the same ones.
        eps: of the layer norms.
    """

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float = 0.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.heads = heads
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def attention(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention branch of normalised `x (B, N, D)`; `mask (B, 1, 1, N)` is True where keys count."""
        return self.proj(joint_attention(self.qkv(x), self.heads, mask))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return the feed-forward branch of normalised `x (B, N, D)`."""
        return self.fc2(F.gelu(self.fc1(x)))

    def _residual(self, x: Tensor, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0.0:
            return x + branch
        keep = 1.0 - self.drop_path
        scale = torch.rand(x.shape[0], 1, 1, device=x.device).lt(keep).to(branch.dtype) / keep
        return x + branch * scale

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the block's output `(B, N, D)` and, by itself, its feed-forward branch."""
        x = self._residual(x, self.attention(self.norm1(x), mask))
        branch = self.feed_forward(self.norm2(x))
        return self._residual(x, branch), branch
