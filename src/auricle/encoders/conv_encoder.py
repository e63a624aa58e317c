"""Base of the convolutional encoders: stages in a row, each with its own grid and width."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Ability, Encoder, Grid, Layer, Tokens
from auricle.encoders.parts.feature_map import FeatureMap, Window, count_through, least_through

Pooling = Literal["max", "mean", "max_plus_mean"]


class ConvEncoder(Encoder):
    """Base of convolutional encoders.

    `tokenize` is the first stage (layer 0), `contextualize` the others (layers 1 ... depth). Every layer has its own
    grid and width; the tokens are the last map, time-major. Tokens can be neither dropped nor replaced: convolutions
    need neighbours, and the input has a finer grid than the output. Padding is exact.

    Attributes:
        windows: of each stage, the windows of its convolutions and poolings along time and frequency.
        channels: spectrograms concatenated along the features' last axis.
        pooling: clip vector: maximum of the valid tokens, their mean, or the sum of both; zeros for a clip without any.
        flat_from: first layer whose frequency axis is folded into its channels.
    """

    abilities = frozenset({Ability.EXACT_PADDING})
    windows: tuple[tuple[Window, ...], ...]
    channels: int = 1
    pooling: Pooling = "mean"
    flat_from: int | None = None

    def lay_out(self, windows: Sequence[Sequence[Window]], bands: int | None, input_rate: float) -> None:
        """Set depth, shortest input and rate from the windows of all stages."""
        self.windows = tuple(tuple(stage) for stage in windows)
        self.depth = len(self.windows) - 1
        self.bands, self.input_rate = bands, input_rate
        self.least_frames = least_through([w for stage in self.windows for w in stage])

    @abstractmethod
    def stages(self) -> Sequence[Callable[[FeatureMap], FeatureMap]]:
        """Return the stages: the first computes layer 0 from the input map, each other the next layer."""

    def layer_grid(self, layer: int, frames: int) -> Grid:
        """Return the grid of a layer (0 ... depth) for an input of `frames` frames (or samples)."""
        windows = self._through(layer)
        freq = 1 if self._flat(layer) else count_through(windows, (self.bands or 1) // self.channels)
        return Grid(count_through(windows, frames), freq, self.input_rate / math.prod(w.stride for w in windows))

    def grid(self, frames: int) -> Grid:
        return self.layer_grid(self.depth, frames)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        x = features.x
        x = x.unsqueeze(1) if self.bands is None else x.unflatten(2, (self.channels, -1)).permute(0, 2, 3, 1)
        frames = features.x.shape[1]
        out, valid = self.stages()[0](FeatureMap.of(x, features.lengths)).tokens()
        return Tokens(out, self.layer_grid(0, frames), valid=valid)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        self.check_layers(layers)
        self.check_all_tokens(tokens)
        current = FeatureMap.from_tokens(tokens.x, tokens.valid, tokens.grid, self._flat(0))
        seen = {0: Layer(tokens.x, tokens.grid)} if 0 in layers else {}
        grid = tokens.grid
        for number, stage in enumerate(self.stages()[1:], 1):
            current = stage(current)
            grid = self._next(grid, number)
            if number in layers:
                seen[number] = Layer(current.tokens()[0], grid)
        x, valid = current.tokens()
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=x, grid=grid, valid=valid, layers=hidden)

    def pool(self, tokens: Tokens) -> Tensor:
        if self.pooling == "mean":
            return tokens.mean()
        x, valid = tokens.x, tokens.valid
        if valid is None:
            top = x.amax(1)
        else:
            top = x.masked_fill(~valid.unsqueeze(2), float("-inf")).amax(1)
            top = top.masked_fill(~valid.any(1, keepdim=True), 0.0)
        return top if self.pooling == "max" else top + tokens.mean()

    def _flat(self, layer: int) -> bool:
        return self.bands is None or (self.flat_from is not None and layer >= self.flat_from)

    def _next(self, grid: Grid, layer: int) -> Grid:
        windows = self.windows[layer]
        freq = 1 if self._flat(layer) else count_through(windows, grid.freq)
        rate = self.input_rate / math.prod(w.stride for w in self._through(layer))
        return Grid(count_through(windows, grid.time), freq, rate)

    def _through(self, layer: int) -> list[Window]:
        return [window for stage in self.windows[: layer + 1] for window in stage]


@torch.no_grad()
def draw_weights(module: nn.Module, generator: torch.Generator | None, scheme: Literal["uniform", "fan_out"]) -> None:
    """Draw all weights of convolutions and linear layers; norms start at one and zero.

    Args:
        module: the net.
        generator: CPU generator; None: one seeded with 0.
        scheme: `uniform`: weights and biases uniform within 1 / sqrt(fan in), PyTorch's default; `fan_out`: weights
            normal with variance 2 / fan out and zero biases (arXiv 1502.01852).
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear):
            if scheme == "fan_out":
                groups = 1 if isinstance(part, nn.Linear) else part.groups
                reached = part.weight.shape[0] * part.weight[0, 0].numel() / groups
                part.weight.normal_(0.0, math.sqrt(2.0 / reached), generator=generator)
                if part.bias is not None:
                    part.bias.zero_()
            else:
                bound = part.weight[0].numel() ** -0.5
                part.weight.uniform_(-bound, bound, generator=generator)
                if part.bias is not None:
                    part.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.reset_parameters()
