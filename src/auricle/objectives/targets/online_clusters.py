"""Clusters of a slow teacher's layers, found while it learns: DinoSR's targets.

Source: arXiv 2305.10005, section 3, and its released code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from auricle.config import Natural, ShareBelowOne
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.distributed import total_over_ranks
from auricle.objectives.targets.lloyd import cluster_sums, nearest_centres
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig
from auricle.objectives.targets.teachers import LayerTensor, Norm, layer_tensor, normalised


@dataclass(frozen=True)
class OnlineClusterTargetConfig(TargetConfig):
    """Settings of online clusters: a codebook for each of the teacher's top layers.

    Each centre is the quotient of a decayed sum of the vectors nearest to it and of their decayed number; both move
    once a step, over the predicted tokens of all ranks, after the step that predicted the codes. A centre to which no
    vector is nearest keeps both. The objective needs a teacher.

    Attributes:
        layers: number of the teacher's top layers; 0: all.
        clusters: centres of each layer.
        decay: share of sum and number that is kept each step.
        tensor: of each layer, its `feedforward` branch before the residual, or its `block` output.
        per_layer: normalise each layer's channels over a clip's time (`instance`), each token (`layer`), or not.
    """

    layers: Natural = 8
    clusters: Annotated[int, Ge(2)] = 256
    decay: ShareBelowOne = 0.9
    tensor: LayerTensor = "feedforward"
    per_layer: Norm = "instance"


class OnlineClusterTarget(Target):
    """Codes `(B, N, L)` of the clean view, one for each of L layers.

    The centres start as normal vectors, each channel standardised over the clusters, as in the released code.
    """

    learns_codes: ClassVar[bool] = True

    lifecycle: ClassVar[Lifecycle] = "slow"
    # `(L, K, D)` decayed sums of vectors; `(L, K)` their decayed numbers; `(L, K, D)` quotients, used for codes.
    sums: Tensor
    counts: Tensor
    centres: Tensor
    # `(L, K, D + 1)`: sums and numbers of the current step; never saved, reset where a step is skipped.
    pending: Tensor

    def __init__(self, config: OnlineClusterTargetConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        if config.layers > encoder.depth:
            raise ConfigError(
                f"found the top {config.layers} layers of the teacher to cluster, and the encoder has {encoder.depth}; "
                "lower the target's layers"
            )
        self.config = config
        self.codebooks, self.size = config.layers or encoder.depth, config.clusters
        self.layers = tuple(range(encoder.depth - self.codebooks + 1, encoder.depth + 1))
        shape = (self.codebooks, config.clusters, encoder.width)
        centres = F.instance_norm(torch.randn(shape, generator=generator).transpose(1, 2)).transpose(1, 2).contiguous()
        self.register_buffer("centres", centres)
        self.register_buffer("sums", centres.clone())
        self.register_buffer("counts", torch.ones(shape[:2]))
        self.register_buffer("pending", torch.zeros(*shape[:2], shape[2] + 1), persistent=False)

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        config = self.config
        if masked_batch.teach is None:
            raise ConfigError("clusters of teacher layers are predicted and there is no teacher; set objective.teacher")
        seen = masked_batch.teach("all", self.layers)
        codes = []
        with torch.autocast(seen.x.device.type, enabled=False):
            for number, layer in enumerate(seen.layers or ()):
                x = layer_tensor(layer, config.tensor, masked_batch.encoder)
                x = normalised(x.to(self.centres.dtype), config.per_layer, seen.valid)
                code, _ = nearest_centres(x.flatten(0, 1), self.centres[number])
                codes.append(code.view(x.shape[:2]))
                if self.training:
                    keep = masked_batch.mask.predicted.unflatten(0, (len(x), -1)).any(1).flatten()
                    total, count = cluster_sums(x.flatten(0, 1)[keep], code[keep], self.size)
                    self.pending[number] += torch.cat([total, count.unsqueeze(1)], 1)
        return torch.stack(codes, -1)

    @torch.no_grad()
    def after_step(self, encoder: Encoder, step: int) -> None:
        got = total_over_ranks(self.pending)
        self.pending.zero_()
        total, count = got[..., :-1], got[..., -1]
        share = torch.where(count > 0, 1.0 - self.config.decay, 0.0).to(got.dtype)
        self.sums.lerp_(total, share.unsqueeze(-1))
        self.counts.lerp_(count, share)
        # Numbers begin at 1 and only decay towards at least one vector: they never vanish.
        self.centres.copy_(self.sums / self.counts.unsqueeze(-1))
