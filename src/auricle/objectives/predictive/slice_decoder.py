"""From one vector back to a slice of a spectrogram: a small net that mirrors the encoder of slices.

The widths are a choice: arXiv 1905.11796 says that the decoder mirrors the encoder, with up-sampling, and not more that
is known to us.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from auricle.objectives.workers.regression import draw_layers


class SliceDecoder(nn.Module):
    """Linear to a small map; then stages that double time and frequency, each a depthwise and a pointwise convolution.

    Norms go over the channels of each clip, not over the batch: what a clip is decoded to does not depend on others.

    Args:
        width: of the vector.
        frames: T of the slice.
        bands: F of the slice.
        channels: of the small map and after each stage; the slice is 2 ** stages times as large.
        generator: draws the weights.
    """

    def __init__(
        self, width: int, frames: int, bands: int, channels: tuple[int, ...], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.frames, self.bands = frames, bands
        scale = 2 ** (len(channels) - 1)
        self.least = (channels[0], -(-frames // scale), -(-bands // scale))
        self.begin = nn.Linear(width, self.least[0] * self.least[1] * self.least[2])
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            stages += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.GroupNorm(1, outputs),
                nn.ReLU(),
            ]
        self.stages = nn.Sequential(*stages)
        self.end = nn.Conv2d(channels[-1], 1, 1)
        draw_layers(self, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return slices `(B, T, F)` from vectors `(B, width)`."""
        small = self.begin(x).relu().unflatten(1, self.least)
        made: Tensor = self.end(self.stages(small))
        return made[:, 0, : self.frames, : self.bands]
