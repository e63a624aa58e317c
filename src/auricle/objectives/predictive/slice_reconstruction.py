"""Reconstruction of a slice from its neighbours, or of the neighbours from the slice: Audio2Vec.

Source: Audio2Vec, Tagliasacchi et al., Self-supervised audio representation learning for mobile devices, arXiv
1905.11796, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.crop import cut_out
from auricle.config import Count, Positive
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.baselines import regression_watch
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, Preparation, View, clean_audio
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.distributed import mean_where
from auricle.objectives.predictive.slice_embedding import embed_slices
from auricle.objectives.targets.frame_signals import FrameSignal, fit_signals
from auricle.objectives.workers.regression import draw_layers, squared


@dataclass(frozen=True)
class SliceReconstructionConfig(ObjectiveConfig):
    """Settings of the reconstruction of slices.

    Attributes:
        mode: `cbow`: from the slices around to the one in the middle; `skip_gram`: from the one in the middle to those
            around, each by its own decoder.
        slices: an odd number of them; the views must make as many (`SliceViewsConfig.count`, order `keep`).
        seconds: of a slice (`SliceViewsConfig.seconds`).
        frontend: makes the target from a slice's waveform; each of its bands is standardised over the corpus.
        channels: of the decoder (see `SliceDecoder`).
        statistics: number of clips, about, that mean and deviation of the bands are measured on.
    """

    mode: Literal["cbow", "skip_gram"] = "cbow"
    slices: Annotated[int, Ge(3)] = 3
    seconds: Positive = 0.975
    frontend: FrontEndConfig = field(default_factory=LogMelConfig)
    channels: tuple[Count, ...] = (128, 128, 64, 32, 16)
    statistics: Count = 500

    def __post_init__(self) -> None:
        if self.slices % 2 == 0 or len(self.channels) < 2:
            raise ConfigError(
                f"found {self.slices} slices and {len(self.channels)} channels; expected an odd number of slices, one "
                "of them in the middle, and at least two channels: of the small map and of one stage"
            )


class SliceReconstruction(Objective):
    """Encodes the visible slices and decodes the others; the loss is the mean squared error.

    Monitored: `slice/constant` (the mean value of all), `slice/position` (the mean slice of the other clips),
    `slice/position_ratio`, `slice/neighbours` (cbow: each band's mean over the slices around), standard deviations and
    effective ranks.
    """

    prepares = True

    def __init__(self, config: SliceReconstructionConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.views = config, config.slices
        self.check(encoder)
        self.signal = FrameSignal(config.frontend.build(), 0, 0, "the slice that is reconstructed")
        frontend = self.signal.frontend
        self.samples = max(1, round(config.seconds * frontend.rate))
        frames, around = frontend.frames(self.samples), config.slices - 1
        width, decoders = (
            (around * encoder.pooled_width, 1) if config.mode == "cbow" else (encoder.pooled_width, around)
        )
        self.decoders = nn.ModuleList(
            SliceDecoder(width, frames, self.signal.size, config.channels, generator) for _ in range(decoders)
        )

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        def audio() -> Iterable[Audio]:
            for view in preparation.views(min(self.config.statistics, preparation.clips)):
                whole = clean_audio(view, "the slice that is reconstructed")
                spare = (whole.lengths.cpu() - self.samples).clamp(min=0)
                start = (torch.rand(len(whole), generator=preparation.generator) * (spare + 1)).long()
                lengths = whole.lengths.clamp(max=self.samples)
                yield Audio(cut_out(whole, start, self.samples), lengths, whole.rate)

        fit_signals((self.signal,), audio())

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        self.check_views(views)
        middle = self.config.slices // 2
        around = [view for place, view in enumerate(views) if place != middle]
        cbow = self.config.mode == "cbow"
        shown, missing = (around, [views[middle]]) if cbow else ([views[middle]], around)
        vectors = embed_slices(encoder, shown)
        made = torch.stack([decoder(vectors.flatten(1)) for decoder in self._decoders], 1)
        target = torch.stack([self._target(view) for view in missing], 1)
        if self.shuffled:
            target = target.roll(1, 0)
        with torch.autocast(made.device.type, enabled=False):
            prediction = made.to(target.dtype)
            # All slices of a clip as one row of frames, so that baselines by position are those of a slice.
            prediction, target = prediction.flatten(1, 2), target.flatten(1, 2)
            chosen = torch.ones(target.shape[:2], dtype=torch.bool, device=target.device)
            value = mean_where(squared(prediction, target), chosen)
        watch = {f"slice/{k}": v for k, v in regression_watch(squared, prediction, target, chosen, 1).items()}
        seen = vectors.detach().flatten(0, 1)
        watch["slice/rank_slices"] = lambda: effective_rank(seen[:2048])
        if cbow:
            watch["slice/neighbours"] = lambda: self._neighbours(around, target)
        return Loss(value, {"slice_mse": value.detach()}, LazyWatch(watch))

    @property
    def _decoders(self) -> list[SliceDecoder]:
        return list(self.decoders)  # type: ignore[arg-type]  # a ModuleList of SliceDecoders

    def _target(self, view: View) -> Tensor:
        audio = clean_audio(view, self.signal.what)
        if audio.wave.shape[1] != self.samples:
            raise ConfigError(
                f"found slices of {audio.wave.shape[1] / audio.rate:g} s, expected {self.config.seconds:g} s; set the "
                "views' seconds and the objective's to the same length"
            )
        target: Tensor = self.signal(view)
        return target

    def _neighbours(self, around: Sequence[View], target: Tensor) -> Tensor:
        mean = torch.stack([self._target(view) for view in around], 1).mean((1, 2)).unsqueeze(1)
        return squared(mean.expand_as(target), target).mean()


class SliceDecoder(nn.Module):
    """Linear to a small map; then stages that double time and frequency, each a depthwise and a pointwise convolution.

    The decoder mirrors the encoder of slices, with up-sampling (arXiv 1905.11796); its widths are not specified there.
    Norms are over the channels of each clip, not over the batch: the output of a clip does not depend on others.

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
