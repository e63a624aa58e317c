"""Cluster numbers as targets: k-means on cepstral coefficients, later on a layer of the previous stage's encoder.

Source: HuBERT (arXiv 2106.07447, sections III-A and IV-A). There an offline pass writes the labels of whole files; here
the encoder's own crop is assigned to clusters in every step, so that labels are always in step with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.mfcc import MfccConfig
from auricle.config import Config, Count, ShareAboveZero
from auricle.encoders.contract import Encoder, Grid
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation, clean_audio
from auricle.objectives.targets.alignment import align_frames, sample_grid, whole_ratio
from auricle.objectives.targets.kmeans import StreamingKMeans
from auricle.objectives.targets.lloyd import nearest_centres
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig


class Frames(NamedTuple):
    """Vectors of a batch of clips.

    Attributes:
        x: `(B, T, F, D)`: T time steps of F rows of frequencies each (1 where there are none).
        valid: `(B, T)` bool, False for padding.
        rate: time steps per second.
    """

    x: Tensor
    valid: Tensor
    rate: float


@dataclass(frozen=True)
class ClusteredConfig(Config, ABC):
    """Base of the settings of sources of vectors to cluster."""

    def build(self) -> Clustered:
        """Build the source.

        Raises:
            ConfigError: the encoder of the previous stage has no such layer.
        """
        return self.built_class()(self)


class Clustered(nn.Module, ABC):
    """Base of sources of vectors to cluster: clean audio in, vectors out.

    Attributes:
        width: D of the vectors.
        name: in messages.
        family: the class that makes the vectors, in messages.
    """

    width: int
    name: str
    family: str

    @abstractmethod
    def forward(self, audio: Audio) -> Frames:
        """Return the vectors of a batch of clips, without gradient."""

    def rate(self) -> float | None:
        """Return the time steps per second, or None where only the output shows them."""
        return None

    def adopt(self, preparation: Preparation) -> None:
        """Load the weights of the previous stage, where the source has any."""


@dataclass(frozen=True)
class ClusteredFeaturesConfig(ClusteredConfig):
    """The features of a front end (HuBERT's first iteration: 39 cepstral values, 100 times a second).

    Attributes:
        frontend: makes them.
    """

    frontend: FrontEndConfig = field(default_factory=MfccConfig)


class ClusteredFeatures(Clustered):
    """`(B, T, 1, F)` from a front end."""

    def __init__(self, config: ClusteredFeaturesConfig) -> None:
        super().__init__()
        self.frontend = config.frontend.build()
        self.width, self.family = self.frontend.width, type(self.frontend).__name__
        self.name = self.family

    def rate(self) -> float:
        return self.frontend.frame_rate

    @torch.no_grad()
    def forward(self, audio: Audio) -> Frames:
        features = self.frontend(audio)
        x = features.x if features.x.dim() == 3 else features.x.unsqueeze(-1)
        valid = torch.arange(x.shape[1], device=x.device) < features.lengths[:, None].to(x.device)
        return Frames(x.unsqueeze(2), valid, features.rate)


@dataclass(frozen=True)
class ClusteredLayerConfig(ClusteredConfig):
    """The output of a layer of the previous stage's encoder (HuBERT's later iterations: layer 6 of the first).

    Attributes:
        layer: its number, from 1.
        previous: model of the previous stage.
    """

    layer: Count = 6
    previous: PreviousEncoderConfig = field(default_factory=PreviousEncoderConfig)


class ClusteredLayer(Clustered):
    """`(B, T, F, D)` from a layer; only the output shows its grid."""

    def __init__(self, config: ClusteredLayerConfig) -> None:
        super().__init__()
        self.config = config
        self.previous = config.previous.build()
        if config.layer > self.previous.depth:
            raise ConfigError(
                f"found layer {config.layer} of the previous stage to cluster, and its encoder has "
                f"{self.previous.depth}; choose one of 1 ... {self.previous.depth}"
            )
        self.width, self.family = self.previous.width, type(self.previous.encoder).__name__
        self.name = f"layer {config.layer} of the previous stage"

    def adopt(self, preparation: Preparation) -> None:
        self.previous.adopt(preparation.previous, "KMeansTargetConfig")

    @torch.no_grad()
    def forward(self, audio: Audio) -> Frames:
        tokens = self.previous(audio, (self.config.layer,))
        if tokens.layers is None:
            raise ConfigError(f"{type(self.previous.encoder).__name__} returned no layers; its contract is broken")
        (layer,) = tokens.layers
        x = layer.block.unflatten(1, (layer.grid.time, layer.grid.freq))
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if tokens.valid is not None and tokens.valid.shape[1] == layer.grid.tokens:
            valid = tokens.valid.unflatten(1, (layer.grid.time, layer.grid.freq)).any(2)
        return Frames(x, valid, layer.grid.rate)


@dataclass(frozen=True)
class KMeansTargetConfig(TargetConfig):
    """The number of the cluster of each token's time step.

    Clusters are found before the first step, in one or several passes over a share of the clips, in memory that does
    not grow with them. The rate of the vectors is a multiple of the tokens', and every k-th is used, as in the
    original. Where the encoder has several tokens a time step and the vectors have one, all of them have its code.

    Attributes:
        clusters: K: 100 in HuBERT's first iteration, 500 later.
        source: of the vectors.
        share: of the clips that clusters are found on (HuBERT: a tenth).
        least_clips: least number of those clips, where the corpus has them.
        batch: vectors in a mini-batch of k-means (HuBERT's: 10,000).
        passes: over those clips.
    """

    clusters: Annotated[int, Ge(2)] = 100
    source: ClusteredConfig = field(default_factory=ClusteredFeaturesConfig)
    share: ShareAboveZero = 0.1
    least_clips: Count = 1000
    batch: Count = 10_000
    passes: Count = 1


class KMeansTarget(Target):
    """Codes `(B, N, 1)` from nearest centres `(K, D)`, which are a buffer."""

    lifecycle: ClassVar[Lifecycle] = "cached"
    codebooks = 1
    prepares = True
    centres: Tensor
    fitted: Tensor

    def __init__(self, config: KMeansTargetConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.size = config.clusters
        self.source = config.source.build()
        rate = self.source.rate()
        if rate is not None:
            whole_ratio(rate, sample_grid(encoder).rate, f"the target ({self.source.name})")
        self.register_buffer("centres", torch.zeros(config.clusters, self.source.width))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.int64))
        self._ready = False

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._ready = False

    @torch.no_grad()
    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        config = self.config
        self.source.adopt(preparation)
        clips = min(preparation.clips, max(config.least_clips, round(config.share * preparation.clips)))
        kmeans = StreamingKMeans(config.clusters, preparation.generator, config.batch)
        seen = 0
        for number in range(config.passes):
            for view in preparation.views(clips):
                frames = self.source(clean_audio(view, "KMeansTargetConfig").to(self.centres.device))
                if not seen:
                    self.on_grid(frames, encoder.grid(view.features.x.shape[1]))  # refused here, not in the first step
                kmeans.partial_fit(frames.x[frames.valid].flatten(0, 1))
                seen += len(view) if number == 0 else 0
        if not seen:
            raise ConfigError("found no clip to cluster; expected views of at least one clip")
        report = kmeans.finish()
        self.centres.copy_(kmeans.centres)
        self.fitted.fill_(1)
        self._ready = False
        preparation.note(
            f"k-means: {config.clusters} clusters of {report.points:,} vectors ({self.source.name}) of {seen:,} clips, "
            f"perplexity {report.perplexity:.1f}, mean squared distance {report.inertia:.4g}"
        )
        if report.empty:
            preparation.note(
                f"k-means: {report.empty} of {config.clusters} clusters are empty: there are fewer different vectors "
                "than clusters, and their codes are never used (set fewer clusters, or take more audio)"
            )

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        if not self._ready:
            if not int(self.fitted):
                raise ConfigError(
                    "the clusters are not found yet; call the objective's `prepare` (`pretrain` does), or load a "
                    "checkpoint, before the first step"
                )
            self._ready = True
        frames = self.source(clean_audio(masked_batch.clean, "KMeansTargetConfig"))
        with torch.autocast(frames.x.device.type, enabled=False):
            x = self.on_grid(frames, masked_batch.grid)
            codes, _ = nearest_centres(x.flatten(0, 2).to(self.centres.dtype), self.centres)
            codes = codes.view(x.shape[:3])
        return codes.expand(-1, -1, masked_batch.grid.freq).flatten(1).unsqueeze(-1)

    def on_grid(self, frames: Frames, grid: Grid) -> Tensor:
        """Bring vectors to the time steps of a token grid: `(B, T, F, D)`, F the grid's rows, or 1.

        Raises:
            ConfigError: rates, numbers or rows do not fit.
        """
        rows = frames.x.shape[2]
        if rows not in (1, grid.freq):
            fitting = "1 token" if grid.freq == 1 else f"1 or {grid.freq} tokens"
            raise ConfigError(
                f"{self.source.name} ({self.source.family}) has {rows} tokens a time step, and the encoder that is "
                f"trained has {grid.freq}: codes and tokens do not pair. Set --previous to a run whose encoder has "
                f"{fitting} a time step (that in the folder `previous` of a run of hubert has 1), or omit --previous: "
                "the recipe's own previous stage is then trained"
            )
        x = align_frames(frames.x.flatten(2), frames.rate, grid, "index", f"the target ({self.source.name})")
        return x.unflatten(2, (rows, -1))
