"""A bidirectional LSTM with the settings axis in front of every weight, both directions in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from auricle.probes.contract import linear_init, repeat


class BiLstm(nn.Module):
    """One layer as `torch.nn.LSTM(width, hidden, bidirectional=True)` computes it, for S settings.

    `torch.nn.LSTM` has one set of weights; here the two directions of all settings are 2 S groups of one batched
    product a step. Gates stand in its order: input, forget, cell, output. Each direction has one bias instead of its
    two that are only ever added.

    Args:
        width: of the input.
        hidden: H, cells a direction.
        settings: S.
        generator: of the random start.
    """

    def __init__(self, width: int, hidden: int, settings: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = hidden
        self.into = repeat(linear_init((2, 4 * hidden, width), hidden, generator), settings)
        self.around = repeat(linear_init((2, 4 * hidden, hidden), hidden, generator), settings)
        self.bias = repeat(linear_init((2, 4 * hidden), hidden, generator), settings)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return `(S, B, T, 2 H)`, forward cells first; zeros from a sequence's end on.

        Args:
            x: `(S, B, T, width)`.
            lengths: `(B,)` steps of each sequence; the backward direction begins at its own last step.
        """
        S, B, T, width = x.shape
        H = self.hidden
        step = torch.arange(T, device=x.device)
        inside = step < lengths.unsqueeze(1)
        backward = torch.where(inside, lengths.unsqueeze(1) - 1 - step, step)
        turned = x.gather(2, backward.view(1, B, T, 1).expand_as(x))
        both = torch.stack([x, turned], 1).reshape(2 * S, B * T, width)
        gates = torch.bmm(both, self.into.view(2 * S, 4 * H, width).transpose(1, 2)).view(2 * S, B, T, 4 * H)
        gates = gates + self.bias.view(2 * S, 1, 1, 4 * H)
        around = self.around.view(2 * S, 4 * H, H).transpose(1, 2)
        h = cell = x.new_zeros(2 * S, B, H)
        steps = []
        # Slices taken one by one would each get a gradient as large as the whole.
        for gate in gates.unbind(2):
            i, f, g, o = torch.baddbmm(gate, h, around).chunk(4, -1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            h = o.sigmoid() * cell.tanh()
            steps.append(h)
        out = torch.stack(steps, 2).view(S, 2, B, T, H)
        ahead, behind = out[:, 0], out[:, 1].gather(2, backward.view(1, B, T, 1).expand(S, B, T, H))
        return torch.cat([ahead, behind], -1).masked_fill(~inside.view(1, B, T, 1), 0)
