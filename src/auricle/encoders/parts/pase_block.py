"""PASE's block: padding, filters, batch norm, rectifier, with the end of every clip kept in sight.

Source: PASE, arXiv 1904.03416, section 2.1.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.parts.sinc import SincFilters
from auricle.errors import ConfigError

Edges = Literal["zeros", "reflect"]


def inside(lengths: Tensor, steps: int) -> Tensor | None:
    """Return `(B, steps)`, True before each clip's end; None where every clip fills all steps."""
    valid = torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)
    return None if bool(valid.all()) else valid


def normalised(norm: nn.BatchNorm1d, x: Tensor, valid: Tensor | None) -> Tensor:
    """Return batch-normalised `x (B, C, N)`; in training, statistics are those of the steps that `valid (B, N)` names.

    Steps that are not valid become zero then.

    Raises:
        ConfigError: in training, fewer than two valid steps in the batch.
    """
    if norm.training:
        steps = x.shape[0] * x.shape[2] if valid is None else int(valid.sum())
        if steps < 2:
            raise ConfigError(
                f"found {steps} step in the whole batch, a batch norm in training needs at least 2; take more or "
                "longer clips"
            )
    if valid is None or not norm.training:
        return norm(x)
    rows = norm(x.transpose(1, 2)[valid])
    y = rows.new_zeros(x.shape[0], x.shape[2], x.shape[1])
    y[valid] = rows
    return y.transpose(1, 2)


def averaged(x: Tensor, lengths: Tensor, steps: int, ratio: int) -> Tensor:
    """Return `(B, C, steps)`: means of `x (B, C, N)` over `ratio` steps each, of what lies before each clip's end."""
    mask = inside(lengths, x.shape[2])
    x = x if mask is None else x.masked_fill(~mask.unsqueeze(1), 0.0)
    x = F.pad(x, (0, max(0, steps * ratio - x.shape[2])))[:, :, : steps * ratio]
    start = torch.arange(steps, device=x.device) * ratio
    count = (lengths.unsqueeze(1) - start).clamp(1, ratio).unsqueeze(1).to(x.dtype)
    return x.unflatten(2, (steps, ratio)).sum(-1) / count


class PaseBlock(nn.Module):
    """Padding, filters, batch norm, and a rectifier with one learned slope per channel (0 at the start).

    Padding is kernel // 2 on both sides, one less on the left where the stride is above 1, as the authors have it.

    Args:
        filters: what is run on the padded input: a bank over samples, or a convolution.
        channels: of its output.
        kernel: steps that it sees.
        stride: steps from one output to the next.
        edges: what stands around a clip, see `PaseConfig`.
    """

    def __init__(self, filters: nn.Module, channels: int, kernel: int, stride: int, edges: Edges) -> None:
        super().__init__()
        self.kernel, self.stride, self.edges = kernel, stride, edges
        self.left, self.right = kernel // 2 - (stride > 1), kernel // 2
        self.filters = filters
        self.norm = nn.BatchNorm1d(channels)
        self.rectifier = nn.PReLU(channels, init=0.0)

    @classmethod
    def sinc(cls, filters: int, taps: int, rate: float, edges: Edges) -> PaseBlock:
        """Return the first block: a learned filter bank over samples."""
        return cls(SincFilters(filters, taps, rate), filters, taps, 1, edges)

    @classmethod
    def convolution(cls, before: int, channels: int, kernel: int, stride: int, edges: Edges) -> PaseBlock:
        """Return one of the blocks after it."""
        return cls(nn.Conv1d(before, channels, kernel, stride, bias=False), channels, kernel, stride, edges)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw the convolution's weights uniform in +-1/sqrt(fan in); set all else to where it starts."""
        if isinstance(self.filters, nn.Conv1d):
            bound = (self.filters.in_channels * self.kernel) ** -0.5
            self.filters.weight.uniform_(-bound, bound, generator=generator)
        elif isinstance(self.filters, SincFilters):
            self.filters.initialise()
        self.norm.reset_parameters()
        self.rectifier.weight.zero_()

    def frames(self, steps: int) -> int:
        """Return the steps that so many input steps give."""
        return max(0, (steps + self.left + self.right - self.kernel) // self.stride + 1)

    def least(self, steps: int) -> int:
        """Return the fewest input steps that give so many."""
        need = max(1, (steps - 1) * self.stride + self.kernel - self.left - self.right)
        # Mirroring needs more steps than it adds.
        return need if self.edges == "zeros" else max(need, self.right + 1)

    def forward(self, x: Tensor, lengths: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the output `(B, C, N)`, the valid steps `(B,)` of each clip in it, and their mask (None: all)."""
        if self.edges == "reflect":
            x = F.pad(x, (self.left, self.right), mode="reflect")
        else:
            x = x if valid is None else x.masked_fill(~valid.unsqueeze(1), 0.0)
            x = F.pad(x, (self.left, self.right))
        y = self.filters(x.squeeze(1) if isinstance(self.filters, SincFilters) else x)
        after = torch.div(lengths + (self.left + self.right - self.kernel), self.stride, rounding_mode="floor") + 1
        still = None if valid is None else inside(after, y.shape[2])
        y = normalised(self.norm, y, still)
        return F.prelu(y, self.rectifier.weight.to(y.dtype)), after, still
