"""Cluster numbers as targets: k-means on cepstral coefficients, later on a layer of the encoder of the stage before.

Source: HuBERT (arXiv 2106.07447, sections III-A and IV-A). There an offline pass writes the labels of whole files; here
the crop that the encoder sees is assigned to clusters in every step, so that no label can come out of step with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.mfcc import MfccConfig
from auricle.config import Config
from auricle.encoders.contract import Encoder, Grid
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation
from auricle.objectives.targets.alignment import align_frames, whole_ratio
from auricle.objectives.targets.kmeans import StreamingKMeans
from auricle.objectives.targets.lloyd import nearest_centres
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig, clean_audio
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
    """Base of the settings of what is clustered."""

    @abstractmethod
    def build(self) -> Clustered:
        """Build it."""


class Clustered(nn.Module, ABC):
    """Base of what is clustered: clean audio in, vectors out.

    Attributes:
        width: D of its vectors.
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
        """Return its time steps per second where they are known before any audio is."""
        return None

    def adopt(self, preparation: Preparation) -> None:
        """Take over what it needs of the stage before."""


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
    """The output of a layer of the encoder of the stage before (HuBERT's later iterations: layer 6 of the first).

    Attributes:
        layer: which, from 1.
        earlier: what the stage before trained.
    """

    layer: int = 6
    previous: PreviousEncoderConfig = field(default_factory=PreviousEncoderConfig)


class ClusteredLayer(Clustered):
    """`(B, T, F, D)` from a layer; its grid is told only by what comes out."""

    def __init__(self, config: ClusteredLayerConfig) -> None:
        super().__init__()
        self.config = config
        self.previous = config.previous.build()
        if not 1 <= config.layer <= self.previous.depth:
            raise ConfigError(
                f"layer {config.layer} of the stage before is to be clustered and its encoder has "
                f"{self.previous.depth}; choose one of 1 ... {self.previous.depth}"
            )
        self.width, self.family = self.previous.width, type(self.previous.encoder).__name__
        self.name = f"layer {config.layer} of the stage before"

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
    """The number of the cluster that each token's moment belongs to.

    Clusters are found before the first step, in one or several passes over a share of the clips, in memory that does
    not grow with them. Vectors come at a multiple of the tokens' rate and every k-th is taken, as the original does.
    Where the encoder has several rows of frequencies and the vectors have one, all rows of a time step have its code.

    Attributes:
        clusters: K: 100 in HuBERT's first iteration, 500 later.
        source: what is clustered.
        share: of the clips that clusters are found on (HuBERT: a tenth).
        least_clips: but at least so many, where the corpus has them.
        batch: vectors in a mini-batch of k-means (HuBERT's: 10,000).
        passes: over those clips.
    """

    clusters: int = 100
    source: ClusteredConfig = field(default_factory=ClusteredFeaturesConfig)
    share: float = 0.1
    least_clips: int = 1000
    batch: int = 10_000
    passes: int = 1

    def __post_init__(self) -> None:
        if self.clusters < 2 or self.batch < 1 or self.passes < 1 or self.least_clips < 1 or not 0 < self.share <= 1:
            raise ConfigError(
                f"found {self.clusters} clusters, share {self.share}, least_clips {self.least_clips}, batch "
                f"{self.batch}, passes {self.passes}; expected at least 2 clusters, a share above 0 and at most 1, and "
                "at least 1 of the others"
            )


class KMeansTarget(Target):
    """Codes `(B, N, 1)` from nearest centres `(K, D)`, which are a buffer."""

    lifecycle: ClassVar[Lifecycle] = "cached"
    books = 1
    prepares = True
    centres: Tensor
    fitted: Tensor

    def __init__(self, config: KMeansTargetConfig, encoder: Encoder) -> None:
        super().__init__()
        self.config = config
        self.size = config.clusters
        self.source = config.source.build()
        rate = self.source.rate()
        if rate is not None:
            grid = encoder.grid(max(encoder.least_frames, round(encoder.input_rate)))
            whole_ratio(rate, grid.rate, f"the target ({self.source.name})")
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
            raise ConfigError("found no clip to cluster; give a corpus that is not empty")
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
                "than clusters; those codes never come up (set fewer clusters, or take more audio)"
            )

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        if not self._ready:
            if not int(self.fitted):
                raise ConfigError(
                    "the clusters are not found yet; call the objective's `prepare` (`pretrain` does) or load a "
                    "checkpoint before the first step"
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
                f"{self.source.name} ({self.source.family}) has {rows} tokens a time step, one for each row of "
                f"frequencies, and the encoder that is trained has {grid.freq}: codes and tokens do not pair. Give "
                f"--previous a run whose encoder has {fitting} a time step (that in the folder `previous` of a run of "
                "hubert has 1), or leave --previous out: the recipe's own stage before is then trained"
            )
        x = align_frames(frames.x.flatten(2), frames.rate, grid, "index", f"the target ({self.source.name})")
        return x.unflatten(2, (rows, -1))
