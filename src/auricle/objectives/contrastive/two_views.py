"""Contrastive learning of two views of a clip: augmented, cropped, masked, or all of these.

AudioMosaic (arXiv 2605.14231, section 3), SimCLR (arXiv 2002.05709) and its heirs CLAR and CLMR, COLA (arXiv
2010.10915) and Audio Barlow Twins differ by their views, the mask, the projector and the loss on pairs only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.contract import Ability, Encoder
from auricle.errors import ConfigError
from auricle.objectives.contract import (
    BatchCoupled,
    IndexSet,
    Loss,
    NormScope,
    ObjectiveConfig,
    View,
    side_by_side,
)
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, alignment, effective_rank, uniformity
from auricle.objectives.contrastive.pair_losses import NTXentConfig, PairLossConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.distributed import gather_rows, rank, refuse_single
from auricle.objectives.masks.structured import MaskConfig


@dataclass(frozen=True)
class ContrastiveConfig(ObjectiveConfig):
    """Settings of the contrastive objective.

    Attributes:
        loss: on pairs of projections.
        projector: from the encoder's clip vector to the compared projection.
        mask: which tokens each view keeps; mode `none`: all, with any encoder.
        norm_scope: BatchNorm of encoder and projector takes each `view` by itself, or both `joint` (COLA's code).
    """

    loss: PairLossConfig = field(default_factory=NTXentConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    norm_scope: NormScope = "view"

    def __post_init__(self) -> None:
        if self.norm_scope == "joint" and self.mask.mode != "none":
            raise ConfigError(
                f"found norm_scope 'joint' and a mask of mode {self.mask.mode!r}, which leaves the two views different "
                "tokens; set objective.norm_scope to view, or objective.mask.mode to none"
            )

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        # Settings saved before loss and projector had settings of their own.
        if "temperature" not in data:
            return data
        rest = {name: value for name, value in data.items() if name not in ("temperature", "chunk", "projector")}
        hidden, out = data.get("projector", (512, 128))
        loss = NTXentConfig(temperature=data["temperature"], chunk=data.get("chunk", 1024))
        return {**rest, "loss": loss.to_json(), "projector": ProjectorConfig(hidden=(hidden,), out=out).to_json()}


class Contrastive(BatchCoupled):
    """Two views of a clip, compared with those of all other clips.

    The representation of a view is the pooled vector `(b, D)` of its kept tokens; the others never enter the encoder's
    blocks. Projector and loss belong to the comparison and always see the global batch, so that the projector's
    BatchNorm is exact on any number of ranks and under gradient caching.

    Monitored: `accuracy` (top 1 of the partner among the candidates), its `chance`, `alignment`, `uniformity`, `std_z`
    (spread of the normalised projections, times the root of their width: 1 when they fill the sphere), `rank_z` and
    `rank_f` (effective ranks of projections and of representations), and the scalars of the loss.
    """

    views = 2

    def __init__(self, config: ContrastiveConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        masks = config.mask.mode != "none"
        self.needs = frozenset({Ability.DROP}) if masks else frozenset()  # type: ignore[misc]  # by the settings
        self.check(encoder)
        self.projector = config.projector.build(encoder.pooled_width, generator)
        self.loss = config.loss.build(config.projector.out, generator)

    def draw(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> tuple[IndexSet, ...]:
        self.check_views(views)
        if self.config.mask.mode == "none":
            return ()
        drawn = []
        for kind, view in zip(self.config.mask.kinds, views, strict=True):
            x = view.features.x
            kept = self.config.mask.draw(kind, encoder.grid(x.shape[1]), len(view), generator)
            drawn.append(IndexSet(kept.name, kept.index.to(x.device), kept.grid))
        return tuple(drawn)

    def represent(self, encoder: Encoder, views: Sequence[View], draws: Sequence[IndexSet]) -> tuple[Tensor, ...]:
        if self.config.norm_scope == "joint":
            self.check_views(views)
            return encoder.pool(encoder(side_by_side(views))).split(len(views[0]))
        pooled = []
        for number, view in enumerate(views):
            tokens = encoder.tokenize(view.features)
            if draws and draws[number].index.shape[1] < tokens.grid.tokens:
                tokens = tokens.keep(draws[number].index)
            pooled.append(encoder.pool(encoder.contextualize(tokens)))
        return tuple(pooled)

    def compare(self, representations: Sequence[Tensor]) -> Loss:
        own = representations[0].shape[0]
        with torch.autocast(representations[0].device.type, enabled=False):
            # The parameters' precision: half-width representations must not halve the loss's digits.
            dtype = next(self.projector.parameters()).dtype
            f0, f1 = (gather_rows(f.to(dtype)) for f in representations)
            refuse_single(len(f0))
            z0, z1 = scoped(self.config.norm_scope, self.projector, f0, f1)
            if self.shuffled:
                z1 = z1.roll(1, 0)
            result = self.loss(z0, z1, slice(rank() * own, (rank() + 1) * own))
        f, z = torch.cat([f0, f1]).detach(), torch.cat([z0, z1]).detach()
        n = z0.shape[0]
        watch = LazyWatch(
            {
                "accuracy": lambda: result.accuracy,
                "chance": lambda: z.new_tensor(self.loss.chance(n)),
                "alignment": lambda: alignment(z[:n], z[n:]),
                "uniformity": lambda: uniformity(z[:n]),
                "std_z": lambda: sphere_spread(z),
                "rank_z": lambda: effective_rank(z),
                "rank_f": lambda: effective_rank(f),
                **result.watch,
            }
        )
        return Loss(result.loss, {self.loss.name: result.loss.detach()}, watch)


def scoped(scope: NormScope, module: nn.Module, *views: Tensor) -> tuple[Tensor, ...]:
    """Apply a module to the vectors `(n, D)` of each view: one view after the other, or all at once."""
    if scope == "joint":
        return module(torch.cat(views)).split(len(views[0]))
    return tuple(module(x) for x in views)


@torch.no_grad()
def sphere_spread(x: Tensor) -> Tensor:
    """Return the standard deviation of `x (n, D)` on the unit sphere times the root of D: 0 collapsed, 1 spread out."""
    directions = F.normalize(x.float(), dim=1)
    return directions.std(0, correction=0).mean() * x.shape[1] ** 0.5
