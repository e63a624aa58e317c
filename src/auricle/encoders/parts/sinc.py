"""A filter bank over samples whose band edges are learned.

Source: SincNet, arXiv 1808.00158, section 2 (equations 4 to 6), with the least edge and bandwidth of its code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError

LEAST_EDGE = 50.0  # Hz
LEAST_BAND = 50.0  # Hz
_FIRST = 30.0  # Hz; where the mel scale of the first weights begins, before the least edge is added


class SincFilters(nn.Module):
    """Band-pass filters, each the difference of two ideal low-passes under a Hamming window: two numbers a filter.

    The learned numbers are fractions of the sample rate, so that one learning rate suits them and other weights.
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
