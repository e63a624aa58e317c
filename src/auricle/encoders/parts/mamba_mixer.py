"""The Mamba mixer, in one direction or in both: short convolution, selective scan, gate.

Sources: Mamba, arXiv 2312.00752, section 3.4 and figure 3; both directions as in Vision Mamba, arXiv 2401.09417,
section 3.3 (its second version: shared projections in and out; one convolution, rates and skip per direction).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.parts.selective_scan import selective_scan

# Step sizes start log-uniform between these (Mamba's code); never below the floor.
_DT_RANGE, _DT_FLOOR = (1e-3, 1e-1), 1e-4


@dataclass(frozen=True)
class MixerState:
    """State between chunks: `(B, K - 1, E)` inputs of the convolution, `(B, E, N)` states of the scan."""

    inputs: Tensor
    states: Tensor


class ScanDirection(nn.Module):
    """Convolution, input-dependent rates and skip of one direction.

    Args:
        channels: E.
        states: N per channel.
        rank: of the step size's projection.
        kernel: K of the causal depthwise convolution.
    """

    # Decay of the logarithm of A would pull the memory of all channels to rate 1.
    no_decay = frozenset({"A_log"})

    def __init__(self, channels: int, states: int, rank: int, kernel: int) -> None:
        super().__init__()
        self.states, self.rank, self.kernel = states, rank, kernel
        self.conv = nn.Conv1d(channels, channels, kernel, groups=channels)
        self.x_proj = nn.Linear(channels, rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(rank, channels)
        self.A_log = nn.Parameter(torch.empty(channels, states))
        self.D = nn.Parameter(torch.empty(channels))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights: A = 1 ... N, D = 1, step sizes log-uniform in [0.001, 0.1]."""
        for layer in (self.conv, self.x_proj):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
        bound = self.kernel**-0.5
        nn.init.uniform_(self.conv.bias, -bound, bound, generator=generator)  # type: ignore[arg-type]  # it has one
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5, generator=generator)
        low, high = (math.log(v) for v in _DT_RANGE)
        dt = (torch.rand(len(self.D), generator=generator) * (high - low) + low).exp().clamp(min=_DT_FLOOR)
        # The inverse of softplus, so that the step size starts at `dt`.
        self.dt_proj.bias.copy_(dt + (-torch.expm1(-dt)).log())
        self.A_log.copy_(torch.arange(1, self.states + 1).log().expand_as(self.A_log))
        self.D.fill_(1.0)

    def rates(self, x: Tensor, before: Tensor | None = None) -> ScanInputs:
        """Convolve `(B, L, E)` after `before (B, K - 1, E)` (None: zeros), and compute the inputs of the scan."""
        # Shifted sums instead of a convolution: no change of layout, and as fast.
        padded = F.pad(x, (0, 0, self.kernel - 1, 0)) if before is None else torch.cat([before.to(x.dtype), x], 1)
        y: Tensor = self.conv.bias  # type: ignore[assignment]  # it has one
        for k, tap in enumerate(self.conv.weight[:, 0].unbind(1)):
            y = y + padded[:, k : k + x.shape[1]] * tap
        y = F.silu(y)
        dt, B, C = self.x_proj(y).split([self.rank, self.states, self.states], -1)
        return ScanInputs(y, F.softplus(self.dt_proj(dt)), -self.A_log.exp(), B, C, self.D)


@dataclass(frozen=True)
class ScanInputs:
    """Inputs of one direction's scan."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor


class MambaMixer(nn.Module):
    """Mixes tokens along a sequence `(B, L, D)` in time linear in L.

    Padding must be at the end of a row. It never changes a valid token: for the backward scan rows are reversed within
    their true lengths.

    Args:
        width: D.
        states: N, states per channel.
        expand: E = expand * D channels inside.
        kernel: of the causal convolution before the scan.
        bidirectional: a second scan runs backwards; both are averaged (Vision Mamba's code) before the projection out.
    """

    def __init__(
        self, width: int, *, states: int = 16, expand: int = 2, kernel: int = 4, bidirectional: bool = False
    ) -> None:
        super().__init__()
        channels, rank = expand * width, -(-width // 16)
        self.in_proj = nn.Linear(width, 2 * channels, bias=False)
        self.ahead = ScanDirection(channels, states, rank, kernel)
        self.back = ScanDirection(channels, states, rank, kernel) if bidirectional else None
        self.out_proj = nn.Linear(channels, width, bias=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, blocks: int) -> None:
        """Draw fresh weights; the projection out is divided by sqrt(blocks), as in GPT-2's and Mamba's code."""
        for layer in (self.in_proj, self.out_proj):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
        self.out_proj.weight.div_(math.sqrt(blocks))
        for direction in (self.ahead, self.back):
            if direction is not None:
                direction.initialise(generator)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Mix `(B, L, D)`; `lengths (B,)`: tokens of each row before its padding (None: no padding)."""
        return mix_together([(self, x)], lengths)[0]

    def chunk(self, x: Tensor, state: MixerState | None = None) -> tuple[Tensor, MixerState]:
        """Mix the next chunk `(B, L, D)` of a stream, of any length; only for mixers of one direction."""
        x, z = self.in_proj(x).chunk(2, -1)
        width = self.ahead.kernel - 1
        before = x.new_zeros(x.shape[0], width, x.shape[2]) if state is None else state.inputs.to(x.dtype)
        scan = self.ahead.rates(x, before)
        y, states = selective_scan(scan.x, scan.dt, scan.A, scan.B, scan.C, None if state is None else state.states)
        after = torch.cat([before, x], 1)[:, x.shape[1] :]
        return self.out_proj((y + scan.D * scan.x) * F.silu(z)), MixerState(after, states)


def mix_together(jobs: Sequence[tuple[MambaMixer, Tensor]], lengths: Tensor | None) -> list[Tensor]:
    """Run each mixer on its sequence `(B, L, D)`, with all scans in one loop.

    In small models the number of steps is the cost of a scan: independent scans are stacked along the batch.
    """
    scans: list[ScanInputs] = []
    gates: list[Tensor] = []
    for mixer, sequence in jobs:
        x, z = mixer.in_proj(sequence).chunk(2, -1)
        gates.append(F.silu(z))
        scans.append(mixer.ahead.rates(x))
        if mixer.back is not None:
            scans.append(mixer.back.rates(reverse_rows(x, lengths)))
    outputs = iter(_run(scans))
    mixed = []
    for (mixer, _), gate in zip(jobs, gates, strict=True):
        y = next(outputs)
        if mixer.back is not None:
            y = (y + reverse_rows(next(outputs), lengths)) / 2
        mixed.append(mixer.out_proj(y * gate))
    return mixed


def _run(scans: Sequence[ScanInputs]) -> list[Tensor]:
    if len(scans) == 1:
        s = scans[0]
        y = selective_scan(s.x, s.dt, s.A, s.B, s.C)[0]
        return [y + s.D * s.x]
    clips = scans[0].x.shape[0]
    x, dt, B, C = (torch.cat([getattr(s, name) for s in scans]) for name in ("x", "dt", "B", "C"))
    A = torch.cat([s.A.expand(clips, -1, -1) for s in scans])
    parts = selective_scan(x, dt, A, B, C)[0].split(clips)
    return [y + s.D * s.x for y, s in zip(parts, scans, strict=True)]


def reverse_rows(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse the first `lengths (B,)` tokens of each row of `(B, L, ...)`; padding stays at the end."""
    if lengths is None:
        return x.flip(1)
    place = torch.arange(x.shape[1], device=x.device)
    last = lengths.unsqueeze(1) - 1
    source = torch.where(place <= last, last - place, place)
    return x.gather(1, source.view(*source.shape, *[1] * (x.dim() - 2)).expand_as(x))
