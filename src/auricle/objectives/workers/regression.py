"""Workers that predict signals of the clean waveform: features of each frame, and the samples themselves.

Sources: PASE, arXiv 1904.03416, section 2.2 (one small hidden layer); PASE+, arXiv 2001.09239, section 2 (derivatives,
long windows, context).

Letters in shapes: B clips, T time steps, W width of a time step, D values of a target.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.frontends.frame_spectrum import FrameSpectrumConfig
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.config import Count, Natural
from auricle.encoders.contract import Encoder
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
        channels: of the transposed convolutions between a time step and its samples.
        weight: in the sum.
    """

    name: str = "wave"
    frontend: WaveformConfig = field(default_factory=WaveformConfig)
    channels: tuple[Count, Count] = (64, 32)
    weight: Weight = 1.0

    def __post_init__(self) -> None:
        check_name(self.name)


class WaveWorker(Worker):
    """Three transposed convolutions with PReLU between them, whose strides multiply to the samples of a time step.

    The loss is the mean absolute error over the samples of valid steps, in units of the corpus's deviation.
    """

    def __init__(self, config: WaveWorkerConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.name, self.weight = config, config.name, config.weight
        self.signal = FrameSignal(config.frontend.build(), 0, 0, f"worker {config.name!r}")
        self.hop = whole_ratio(config.frontend.rate, sample_grid(encoder).rate, "the waveform")
        one, two = config.channels
        layers: list[nn.Module] = []
        for place, (stride, inputs, outputs) in enumerate(
            zip(balanced_strides(self.hop), (width, one, two), (one, two, 1), strict=True)
        ):
            half = (stride + 1) // 2
            layers += [nn.PReLU()] if place else []
            layers.append(nn.ConvTranspose1d(inputs, outputs, stride + 2 * half, stride, padding=half))
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
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            seen = layer.weight[0].numel()
        else:
            continue
        layer.weight.uniform_(-(seen**-0.5), seen**-0.5, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
