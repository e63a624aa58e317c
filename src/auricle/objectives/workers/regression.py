"""Workers that predict signals of the clean waveform: features of each frame, and the samples themselves.

Sources: PASE, arXiv 1904.03416, section 2.2 (one small hidden layer), and its released code (the transposed
convolutions); PASE+, arXiv 2001.09239, section 2 (derivatives, long windows, context).

Letters in shapes: B clips, T time steps, W width of a time step, D values of a target.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.frontends.frame_spectrum import FrameSpectrumConfig
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.config import Count, Natural
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.baselines import regression_watch
from auricle.objectives.distributed import mean_where
from auricle.objectives.targets.alignment import align_frames, sample_grid, whole_ratio
from auricle.objectives.targets.frame_signals import FrameSignal
from auricle.objectives.targets.target import TermLoss, Weight
from auricle.objectives.workers.workers import Worker, WorkerBatch, WorkerConfig, check_name


@dataclass(frozen=True)
class FrameWorkerConfig(WorkerConfig):
    """Settings of a worker that predicts features of each time step, by squared error.

    Attributes:
        name: of its part in the log.
        frontend: makes the features; its frame rate must be a multiple of the encoder's (a step's are averaged).
        deltas: number of derivatives over time in the target.
        context: number of frames on either side in the target.
        hidden: width of its hidden layer.
        weight: in the sum.
    """

    name: str = "lps"
    frontend: FrontEndConfig = field(default_factory=FrameSpectrumConfig)
    deltas: Natural = 0
    context: Natural = 0
    hidden: Count = 256
    weight: Weight = 1.0

    def __post_init__(self) -> None:
        check_name(self.name)


class FrameWorker(Worker):
    """Linear, PReLU, linear on every time step, against the standardised features of the clean waveform.

    The loss is the mean squared error over valid steps; predicting the corpus's mean costs 1.
    """

    def __init__(self, config: FrameWorkerConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.name, self.weight = config, config.name, config.weight
        self.signal = FrameSignal(config.frontend.build(), config.deltas, config.context, f"worker {config.name!r}")
        whole_ratio(self.signal.frontend.frame_rate, sample_grid(encoder).rate, f"the target of worker {config.name!r}")
        self.layers = nn.Sequential(
            nn.Linear(width, config.hidden), nn.PReLU(), nn.Linear(config.hidden, self.signal.size)
        )
        draw_layers(self.layers, generator)

    @property
    def signals(self) -> tuple[FrameSignal, ...]:
        return (self.signal,)

    def forward(self, batch: WorkerBatch) -> TermLoss:
        target = align_frames(
            self.signal(batch.view), self.signal.frontend.frame_rate, batch.grid, "mean", f"worker {self.name!r}"
        )
        if batch.shuffled:
            target = target.roll(1, 0)
        prediction = self.layers(batch.frames.x)
        with torch.autocast(prediction.device.type, enabled=False):
            prediction = prediction.to(target.dtype)
            value = mean_where(squared(prediction, target), batch.frames.valid)
        watch = regression_watch(squared, prediction, target, batch.frames.valid, 1)
        return TermLoss.of(self.name, value, watch)


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of each vector, `(...)` from `(..., D)`."""
    return (prediction - target).square().mean(-1)


def absolute(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of each vector, `(...)` from `(..., D)`."""
    return (prediction - target).abs().mean(-1)


@dataclass(frozen=True)
class WaveWorkerConfig(WorkerConfig):
    """Settings of the worker that predicts the samples, by absolute error.

    Attributes:
        name: of its part in the log.
        frontend: the clean samples.
        channels: of the transposed convolutions between a time step and its samples; without `hidden`, the last is 1.
        strides: of the same, whose product is the number of samples of a time step; None: as equal as its prime factors
            allow.
        kernel: of the same, one more where the stride's parity needs it; None: twice the stride.
        hidden: width of a layer behind them; None: the last of them makes the samples.
        weight: in the sum.
    """

    name: str = "wave"
    frontend: WaveformConfig = field(default_factory=WaveformConfig)
    channels: tuple[Count, Count, Count] = (512, 256, 128)
    strides: tuple[Count, Count, Count] | None = None
    kernel: Count | None = 30
    hidden: Count | None = 64
    weight: Weight = 1.0

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.hidden is None and self.channels[-1] != 1:
            raise ConfigError(
                f"worker {self.name!r} makes samples of {self.channels[-1]} channels; set the last of its channels to "
                "1, or its hidden width"
            )

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Read settings of two channels, of three convolutions of which the last made the samples."""
        channels = data.get("channels", ())
        if len(channels) != 2:
            return data
        return {**data, "channels": [*channels, 1], "kernel": None, "hidden": None}


class WaveWorker(Worker):
    """Three transposed convolutions and a hidden layer, each followed by PReLU, and a linear layer to the sample.

    The loss is the mean absolute error over the samples of valid steps, in units of the corpus's deviation.

    Raises:
        ConfigError: the strides do not multiply to the samples of a time step.
    """

    def __init__(self, config: WaveWorkerConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.name, self.weight = config, config.name, config.weight
        self.signal = FrameSignal(config.frontend.build(), 0, 0, f"worker {config.name!r}")
        self.hop = whole_ratio(config.frontend.rate, sample_grid(encoder).rate, "the waveform")
        strides = config.strides or balanced_strides(self.hop)
        if math.prod(strides) != self.hop:
            raise ConfigError(
                f"worker {config.name!r} has strides {strides}, which make {math.prod(strides)} samples; "
                f"the encoder has one every {self.hop}; set its strides to None"
            )
        layers: list[nn.Module] = []
        for stride, outputs in zip(strides, config.channels, strict=True):
            kernel = max(stride, config.kernel or 2 * stride)
            kernel += (kernel - stride) % 2
            layers += [
                nn.ConvTranspose1d(width, outputs, kernel, stride, padding=(kernel - stride) // 2), nn.PReLU(),
            ]  # fmt: skip
            width = outputs
        if config.hidden is None:
            del layers[-1]
        else:
            layers += [nn.Conv1d(width, config.hidden, 1), nn.PReLU(), nn.Conv1d(config.hidden, 1, 1)]
        self.layers = nn.Sequential(*layers)
        draw_layers(self, generator)

    @property
    def signals(self) -> tuple[FrameSignal, ...]:
        return (self.signal,)

    def forward(self, batch: WorkerBatch) -> TermLoss:
        need = batch.grid.time * self.hop
        samples = self.signal(batch.view)[..., 0]
        target = F.pad(samples, (0, max(0, need - samples.shape[1])))[:, :need].unflatten(1, (-1, self.hop))
        if batch.shuffled:
            target = target.roll(1, 0)
        made = self.layers(batch.frames.x.transpose(1, 2))[:, 0]
        with torch.autocast(made.device.type, enabled=False):
            prediction = made.to(target.dtype).unflatten(1, (-1, self.hop))
            value = mean_where(absolute(prediction, target), batch.frames.valid)
        watch = regression_watch(absolute, prediction, target, batch.frames.valid, 1)
        return TermLoss.of(self.name, value, watch)


def balanced_strides(hop: int, parts: int = 3) -> tuple[int, ...]:
    """Return factors of a hop, as equal as its prime factors allow, the largest first."""
    primes, rest = [], hop
    for divisor in range(2, hop + 1):
        while rest % divisor == 0 and rest > 1:
            primes.append(divisor)
            rest //= divisor
        if rest == 1:
            break
    factors = [1] * parts
    for prime in reversed(primes):
        factors[factors.index(min(factors))] *= prime
    return tuple(sorted(factors, reverse=True))


@torch.no_grad()
def draw_layers(module: nn.Module, generator: torch.Generator) -> None:
    """Draw linear layers and convolutions uniformly within +-1/sqrt(inputs of each output); biases are zero."""
    for layer in module.modules():
        if isinstance(layer, nn.ConvTranspose1d):
            seen = layer.weight[:, 0].numel() / layer.stride[0]
        elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            seen = layer.weight[0].numel()
        else:
            continue
        layer.weight.uniform_(-(seen**-0.5), seen**-0.5, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
