"""A slice from its neighbours, or the neighbours from the slice: Audio2Vec, in both directions of word2vec.

Source: Audio2Vec, Tagliasacchi et al., Self-supervised audio representation learning for mobile devices, arXiv
1905.11796, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.crop import cut_out
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.baselines import regression_watch
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, Preparation, View
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.distributed import mean_where
from auricle.objectives.predictive.slice_decoder import SliceDecoder
from auricle.objectives.predictive.slice_embedding import embed_slices
from auricle.objectives.targets.frame_signals import FrameSignal, clean_audio, fit_signals
from auricle.objectives.workers.regression import squared


@dataclass(frozen=True)
class SliceReconstructionConfig(ObjectiveConfig):
    """Settings of the reconstruction of slices.

    Attributes:
        mode: `cbow`: the slices around give the one in the middle; `skip_gram`: the one in the middle gives those
            around it, each by a decoder of its own.
        slices: how many, an odd number; the views must make as many (`SliceViewsConfig.count`, order `keep`).
        seconds: of a slice (`SliceViewsConfig.seconds`).
        frontend: makes what is reconstructed of a slice's waveform; each of its bands is standardised over the corpus.
        channels: of the decoder (see `SliceDecoder`).
        statistics: about so many clips are heard to standardise.
    """

    mode: Literal["cbow", "skip_gram"] = "cbow"
    slices: int = 3
    seconds: float = 0.975
    frontend: FrontEndConfig = field(default_factory=LogMelConfig)
    channels: tuple[int, ...] = (128, 128, 64, 32, 16)
    statistics: int = 500

    def __post_init__(self) -> None:
        if self.mode not in ("cbow", "skip_gram"):
            raise ConfigError(f"unknown mode {self.mode!r}; choose cbow or skip_gram")
        if self.slices < 3 or self.slices % 2 == 0:
            raise ConfigError(
                f"found slices {self.slices}; expected an odd number of at least 3: one stands in the middle"
            )
        if not self.seconds > 0 or len(self.channels) < 2 or min(self.channels) < 1 or self.statistics < 1:
            raise ConfigError(
                f"found seconds {self.seconds}, channels {self.channels}, statistics {self.statistics}; expected "
                "positive numbers, and channels of at least one stage"
            )


class SliceReconstruction(Objective):
    """Encodes the slices that are shown and decodes those that are not; the loss is the mean squared error."""

    prepares = True

    def __init__(
        self, config: SliceReconstructionConfig, encoder: Encoder, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config, self.views = config, config.slices
        self.check(encoder)
        generator = torch.Generator().manual_seed(1) if generator is None else generator
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
        if len(views) != self.config.slices:
            raise ConfigError(
                f"found {len(views)} views, expected {self.config.slices} slices; set the views' count so"
            )
        middle = self.config.slices // 2
        around = [view for place, view in enumerate(views) if place != middle]
        cbow = self.config.mode == "cbow"
        shown, hidden = (around, [views[middle]]) if cbow else ([views[middle]], around)
        vectors = embed_slices(encoder, shown)
        made = torch.stack([decoder(vectors.flatten(1)) for decoder in self._decoders], 1)
        target = torch.stack([self._target(view) for view in hidden], 1)
        if self.shuffled:
            target = target.roll(1, 0)
        with torch.autocast(made.device.type, enabled=False):
            prediction = made.to(target.dtype)
            # All slices of a clip as one row of frames: positions are frames of slots.
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
