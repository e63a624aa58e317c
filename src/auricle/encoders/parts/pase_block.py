"""PASE's block (padding, filters, batch norm, rectifier) and its learned filter bank over samples.

Sources: PASE, arXiv 1904.03416, section 2.1; SincNet, arXiv 1808.00158, section 2 (equations 4 to 6), with the least
edge and bandwidth of its code.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.contract import valid_positions
from auricle.errors import ConfigError

Edges = Literal["zeros", "reflect"]
LEAST_EDGE = 50.0  # Hz
LEAST_BAND = 50.0  # Hz
_FIRST = 30.0  # Hz; where the mel scale of the first weights begins, before the least edge is added


def normalised(norm: nn.BatchNorm1d, x: Tensor, valid: Tensor | None) -> Tensor:
    """Return batch-normalised `x (B, C, N)`; in training over the steps that are `valid (B, N)`, the others become 0.

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
    """Return `(B, C, steps)`: means of `x (B, C, N)` over `ratio` steps each, without those beyond a clip's end."""
    mask = valid_positions(lengths, x.shape[2])
    x = x if mask is None else x.masked_fill(~mask.unsqueeze(1), 0.0)
    x = F.pad(x, (0, max(0, steps * ratio - x.shape[2])))[:, :, : steps * ratio]
    start = torch.arange(steps, device=x.device) * ratio
    count = (lengths.unsqueeze(1) - start).clamp(1, ratio).unsqueeze(1).to(x.dtype)
    return x.unflatten(2, (steps, ratio)).sum(-1) / count


class SincFilters(nn.Module):
    """Band-pass filters, each the difference of two ideal low-passes under a Hamming window: two numbers a filter.

    The learned numbers are fractions of the sample rate, so that one learning rate suits all weights.
    Filters are scaled to 1 at their middle tap.

    Args:
        filters: C, number of filters.
        kernel: taps of each, odd.
        rate: sample rate in Hz.

    Raises:
        ConfigError: an even kernel, or a rate too low for the least edge and band.
    """

    window: Tensor
    place: Tensor

    def __init__(self, filters: int, kernel: int, rate: float) -> None:
        super().__init__()
        if kernel % 2 == 0 or kernel < 3:
            raise ConfigError(f"found a sinc kernel of {kernel} taps, expected an odd number above 1")
        if rate / 2 - LEAST_EDGE - LEAST_BAND <= _FIRST:
            raise ConfigError(f"found {rate:g} samples per second, too few for bands of at least {LEAST_BAND:g} Hz")
        self.kernel, self.rate = kernel, rate
        self.low = nn.Parameter(torch.zeros(filters))
        self.band = nn.Parameter(torch.zeros(filters))
        half = kernel // 2
        self.register_buffer("place", torch.arange(-half, half + 1.0), persistent=False)
        self.register_buffer("window", torch.hamming_window(kernel, periodic=False), persistent=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Set the bands side by side on the mel scale (2595 log10(1 + f / 700)); nothing is drawn."""
        edges = torch.tensor([_FIRST, self.rate / 2 - LEAST_EDGE - LEAST_BAND], dtype=torch.float64)
        first, last = (2595 * torch.log10(1 + edges / 700)).tolist()
        mel = torch.linspace(first, last, len(self.low) + 1, dtype=torch.float64)
        hertz = 700 * (10 ** (mel / 2595) - 1)
        self.low.copy_(hertz[:-1] / self.rate)
        self.band.copy_(hertz.diff() / self.rate)

    def edges(self) -> tuple[Tensor, Tensor]:
        """Return the lower and upper edge of each band, `(C,)` each, in fractions of the rate (at most 0.5)."""
        low = self.low.abs() + LEAST_EDGE / self.rate
        return low, (low + self.band.abs() + LEAST_BAND / self.rate).clamp(max=0.5)

    def taps(self) -> Tensor:
        """Return the filters `(C, kernel)`."""
        low, high = (edge.unsqueeze(1) for edge in self.edges())
        passed = 2 * high * torch.sinc(2 * high * self.place) - 2 * low * torch.sinc(2 * low * self.place)
        return passed * self.window / (2 * (high - low))

    def forward(self, wave: Tensor) -> Tensor:
        """Return the filtered `wave (B, S)` as `(B, C, S - kernel + 1)`: nothing is padded here."""
        return F.conv1d(wave.unsqueeze(1), self.taps().unsqueeze(1))


class PaseBlock(nn.Module):
    """Padding, filters, batch norm, and a rectifier with one learned slope per channel (0 at the start).

    Padding is kernel // 2 on both sides, one less on the left where the stride is above 1, as the authors have it.

    Args:
        filters: the filter bank over samples, or a convolution; applied to the padded input.
        channels: of its output.
        kernel: in steps.
        stride: steps from one output to the next.
        edges: padding around a clip, see `PaseConfig`.
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
        """Draw the convolution's weights uniform in +-1/sqrt(fan in); reset everything else."""
        if isinstance(self.filters, nn.Conv1d):
            bound = (self.filters.in_channels * self.kernel) ** -0.5
            self.filters.weight.uniform_(-bound, bound, generator=generator)
        elif isinstance(self.filters, SincFilters):
            self.filters.initialise()
        self.norm.reset_parameters()
        self.rectifier.weight.zero_()

    def frames(self, steps: int) -> int:
        """Return the number of output steps of `steps` input steps."""
        return max(0, (steps + self.left + self.right - self.kernel) // self.stride + 1)

    def least(self, steps: int) -> int:
        """Return the fewest input steps that give `steps` output steps."""
        need = max(1, (steps - 1) * self.stride + self.kernel - self.left - self.right)
        # Reflection padding needs more steps than it adds.
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
        still = None if valid is None else valid_positions(after, y.shape[2])
        y = normalised(self.norm, y, still)
        return F.prelu(y, self.rectifier.weight.to(y.dtype)), after, still
