"""Strided convolutions over samples: the stem of every waveform encoder.

Sources: CPC, arXiv 1807.03748 (section 3.1) with the norm over channels of its reimplementation, arXiv 2002.02848;
wav2vec, arXiv 1904.05862 (section 3.1); vq-wav2vec, arXiv 1910.05453; wav2vec 2.0, arXiv 2006.11477 (section 4.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Config, Count
from auricle.encoders.contract import valid_positions
from auricle.errors import ConfigError

_EPS = 1e-5
# Share of torch's own bound of fresh biases.
_FIRST_BIAS = 0.01
_Samples = TypeVar("_Samples", int, Tensor)


@dataclass(frozen=True)
class WaveformStemConfig(Config):
    """Settings of a stem of strided convolutions, each followed by its norm and its activation.

    The defaults are the stem of wav2vec 2.0, HuBERT and WavLM (base): a receptive field of 400 samples, a hop of 320.

    Attributes:
        layers: (channels, kernel, stride) of each convolution.
        norm: `group_first`: each channel over time, after the first convolution only (wav2vec 2.0 base);
            `layer`: over the channels of a step (wav2vec 2.0 large, data2vec);
            `channel`: the same with the unbiased variance, as the published CPC code has it;
            `group`: over channels and time together (wav2vec); `none`.
            With `group_first` and `group` every step depends on the whole clip and its padding.
        bias: convolutions have a bias.
        activation: `gelu` (exact) or `relu`.
        log_compression: log(1 + |x|) of the result (wav2vec).
        padding: `none`; or `left`: kernel - stride zeros before each convolution, so that S samples give S / hop steps
            (CPC: 20,480 samples, 128 steps) and no step depends on later samples.
    """

    layers: tuple[tuple[Count, Count, Count], ...] = (
        (512, 10, 5),
        (512, 3, 2),
        (512, 3, 2),
        (512, 3, 2),
        (512, 3, 2),
        (512, 2, 2),
        (512, 2, 2),
    )
    norm: Literal["group_first", "layer", "channel", "group", "none"] = "group_first"
    bias: bool = False
    activation: Literal["gelu", "relu"] = "gelu"
    log_compression: bool = False
    padding: Literal["none", "left"] = "none"

    def __post_init__(self) -> None:
        if not self.layers:
            raise ConfigError("found no layers, expected at least one (channels, kernel, stride)")
        if any(kernel < stride for _, kernel, stride in self.layers):
            raise ConfigError(f"found layers {self.layers}; a kernel shorter than its stride leaves samples unread")

    def narrow(self, channels: int) -> WaveformStemConfig:
        """Return the same stem with `channels` in every layer: small models spend most of their time here."""
        return self.replace(layers=tuple((channels, kernel, stride) for _, kernel, stride in self.layers))

    @property
    def width(self) -> int:
        """C, the channels of the last convolution."""
        return self.layers[-1][0]

    @property
    def hop(self) -> int:
        """Samples from one step to the next."""
        return math.prod(stride for _, _, stride in self.layers)

    @property
    def receptive_field(self) -> int:
        """Samples behind one step."""
        field, hop = 1, 1
        for _, kernel, stride in self.layers:
            field += (kernel - 1) * hop
            hop *= stride
        return field

    @property
    def least(self) -> int:
        """Fewest samples that give a step."""
        need = 1
        for _, kernel, stride in reversed(self.layers):
            need = (need - 1) * stride + (kernel if self.padding == "none" else stride)
        return need

    def frames(self, samples: int) -> int:
        """Return the steps of `samples` samples; 0 where they are fewer than `least`."""
        return max(0, self._steps(samples))

    def lengths(self, samples: Tensor) -> Tensor:
        """Return the steps of each clip `(B,)` that read none of the padding after its `samples (B,)`."""
        return self._steps(samples).clamp(min=0)

    def _steps(self, samples: _Samples) -> _Samples:
        for _, kernel, stride in self.layers:
            samples = (samples - (kernel if self.padding == "none" else stride)) // stride + 1
        return samples

    def valid(self, samples: Tensor, steps: int) -> Tensor | None:
        """Return `(B, steps)`, True where a step reads none of the padding after `samples (B,)`; None: all do."""
        return valid_positions(self.lengths(samples), steps)

    def build(self, generator: torch.Generator | None = None) -> WaveformStem:
        """Build the stem with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return WaveformStem(self, generator)


_DOWN_160 = ((10, 5), (8, 4), (4, 2), (4, 2), (4, 2))
#: The stem of wav2vec 2.0, HuBERT and WavLM, base: receptive field 400 samples, hop 320.
WAV2VEC2 = WaveformStemConfig()
#: The same layout with a norm over channels: the large models, data2vec, and all that train on padded batches.
WAV2VEC2_LAYER = WaveformStemConfig(norm="layer", bias=True)
#: The stem of wav2vec (large): receptive field 465 samples, hop 160, two more convolutions of one step.
WAV2VEC = WaveformStemConfig(
    layers=tuple((512, *layer) for layer in (*_DOWN_160, (1, 1), (1, 1))),
    norm="group",
    activation="relu",
    log_compression=True,
)
#: The stem of vq-wav2vec: eight layers, GELU.
VQ_WAV2VEC = WAV2VEC.replace(layers=(*WAV2VEC.layers, (512, 1, 1)), activation="gelu")
#: The stem of CPC as reimplemented with 256 channels: receptive field 465 samples, hop 160; padding moved to the left.
CPC = WaveformStemConfig(
    layers=tuple((256, *layer) for layer in _DOWN_160), norm="channel", bias=True, activation="relu", padding="left"
)


class LayerNormOverChannels(nn.LayerNorm):
    """LayerNorm over the channels of each step of `(B, C, N)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each step."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ChannelNorm(nn.Module):
    """CPC's norm over the channels of each step of `(B, C, N)`, by the unbiased variance.

    Args:
        channels: C, at least 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 2:
            raise ConfigError(f"found {channels} channel, a norm over channels needs at least 2")
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each step."""
        # Half precision would lose small deviations.
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        variance, mean = torch.var_mean(wide, 1, keepdim=True)
        return (wide - mean) * (variance + _EPS).rsqrt() * self.weight[:, None] + self.bias[:, None]


class WaveformStem(nn.Module):
    """Samples `(B, S)` -> steps `(B, N, C)`.

    Padding at a clip's end never changes a step within the clip, except through the norms `group_first` and `group`.

    Args:
        config: the layout.
        generator: draws the weights; None: one seeded with 0.
    """

    def __init__(self, config: WaveformStemConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        before, convs, norms = 1, [], []
        for place, (channels, kernel, stride) in enumerate(config.layers):
            convs.append(nn.Conv1d(before, channels, kernel, stride, bias=config.bias))
            norms.append(_norm(config.norm, channels, place))
            before = channels
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights (He normal, as wav2vec 2.0's), small biases, unit norms.

        With zero biases digital silence has no variance in any norm of the stack, and the gradient through seven such
        norms overflows. Larger ones (torch's own, by fan-in) would drown samples that are not normalised.
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    bound = _FIRST_BIAS * (module.weight.shape[1] * module.weight.shape[2]) ** -0.5
                    nn.init.uniform_(module.bias, -bound, bound, generator=generator)
            elif isinstance(module, nn.LayerNorm | nn.GroupNorm | ChannelNorm):
                module.reset_parameters()

    def forward(self, wave: Tensor) -> Tensor:
        """Return the steps `(B, N, C)` of samples `(B, S)`; S must be at least `config.least`."""
        x = wave.unsqueeze(1)
        for conv, norm, (_, kernel, stride) in zip(self.convs, self.norms, self.config.layers, strict=True):
            if self.config.padding == "left":
                x = F.pad(x, (kernel - stride, 0))
            x = norm(conv(x))
            x = F.gelu(x) if self.config.activation == "gelu" else F.relu(x)
        if self.config.log_compression:
            x = torch.log1p(x.abs())
        return x.transpose(1, 2)


def _norm(name: str, channels: int, place: int) -> nn.Module:
    if name == "layer":
        return LayerNormOverChannels(channels, eps=_EPS)
    if name == "channel":
        return ChannelNorm(channels)
    if name == "group":
        return nn.GroupNorm(1, channels, eps=_EPS)
    if name == "group_first" and place == 0:
        return nn.GroupNorm(channels, channels, eps=_EPS)
    return nn.Identity()
