"""Contrastive learning of two masked views, as AudioMosaic does it.

Source: AudioMosaic, arXiv 2605.14231, section 3; SimCLR, arXiv 2002.05709.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from auricle.encoders.contract import Ability, Encoder
from auricle.errors import ConfigError
from auricle.objectives.contract import BatchCoupled, IndexSet, Loss, ObjectiveConfig, View
from auricle.objectives.embedding_statistics import LazyWatch, alignment, effective_rank, uniformity
from auricle.objectives.gather import gather_rows, rank
from auricle.objectives.masks import MaskConfig
from auricle.objectives.ntxent import nt_xent


@dataclass(frozen=True)
class ContrastiveConfig(ObjectiveConfig):
    """Settings of the contrastive objective.

    Attributes:
        temperature: of NT-Xent.
        projector: hidden and output width of the projector.
        mask: which tokens each view keeps.
        chunk: anchors per block of similarities.
    """

    temperature: float = 0.1
    projector: tuple[int, int] = (512, 128)
    mask: MaskConfig = field(default_factory=MaskConfig)
    chunk: int = 1024

    def __post_init__(self) -> None:
        """Refuse numbers that are not positive.

        Raises:
            ConfigError: naming the setting.
        """
        if self.temperature <= 0 or self.chunk < 1 or len(self.projector) != 2 or min(self.projector) < 1:
            raise ConfigError(
                f"found temperature {self.temperature}, chunk {self.chunk}, projector {self.projector}; "
                "expected positive numbers, and two widths for the projector"
            )

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> Contrastive:
        """Build the objective for an encoder, its projector drawn from `generator` (None: one seeded with 1).

        Raises:
            NeedError: the encoder can't drop tokens.
        """
        return Contrastive(self, encoder, generator)


def build_projector(width: int, hidden: int, out: int, generator: torch.Generator | None = None) -> nn.Sequential:
    """Return Linear, BatchNorm, ReLU, Linear, BatchNorm without shift; the linear layers without bias."""
    generator = torch.Generator().manual_seed(1) if generator is None else generator
    projector = nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, out, bias=False),
        nn.BatchNorm1d(out),
    )
    for layer in projector:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-2.0, b=2.0, generator=generator)
    # The last shift stays at zero: it would move all embeddings alike, which the normalised loss can't use.
    projector[4].bias.requires_grad_(False)
    return projector


class Contrastive(BatchCoupled):
    """Two views of a clip, differently augmented and masked, against those of all other clips: NT-Xent.

    The representation of a view is its pooled vector `(b, D)`; the projector belongs to the comparison and always sees
    the global batch, so that its BatchNorm is exact on any number of ranks and under gradient caching.
    """

    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.DROP})
    views = 2

    def __init__(self, config: ContrastiveConfig, encoder: Encoder, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.check(encoder)
        self.projector = build_projector(encoder.width, *config.projector, generator=generator)

    def draw(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> tuple[IndexSet, ...]:
        """Draw the kept tokens of both views, each clip by itself.

        Raises:
            ConfigError: not two views.
        """
        if len(views) != self.views:
            raise ConfigError(f"found {len(views)} views, expected {self.views}")
        drawn = []
        for kind, view in zip(self.config.mask.kinds, views, strict=True):
            x = view.features.x
            kept = self.config.mask.draw(kind, encoder.grid(x.shape[1]), len(view), generator)
            drawn.append(IndexSet(kept.name, kept.index.to(x.device), kept.grid))
        return tuple(drawn)

    def represent(self, encoder: Encoder, views: Sequence[View], draws: Sequence[IndexSet]) -> tuple[Tensor, ...]:
        """Return the pooled vector `(b, D)` of each view's kept tokens; the others never enter the encoder's blocks."""
        pooled = []
        for view, kept in zip(views, draws, strict=True):
            tokens = encoder.tokenize(view.features)
            if kept.index.shape[1] < tokens.grid.tokens:
                tokens = tokens.keep(kept.index)
            pooled.append(encoder.pool(encoder.contextualize(tokens)))
        return tuple(pooled)

    def compare(self, representations: Sequence[Tensor]) -> Loss:
        """Project the global batch and contrast this rank's clips with all of it.

        Watched, and computed only when read: `accuracy` (top 1), `alignment`, `uniformity`, `rank_z` and `rank_f`
        (effective ranks of projections and of representations).
        """
        own = representations[0].shape[0]
        with torch.autocast(representations[0].device.type, enabled=False):
            # The parameters' precision: half-width representations must not halve the loss's digits.
            dtype = next(self.projector.parameters()).dtype
            f0, f1 = (gather_rows(f.to(dtype)) for f in representations)
            z0, z1 = self.projector(f0), self.projector(f1)
            rows = slice(rank() * own, (rank() + 1) * own)
            result = nt_xent(z0, z1, self.config.temperature, chunk=self.config.chunk, rows=rows)
        f, z = torch.cat([f0, f1]).detach(), torch.cat([z0, z1]).detach()
        n = z0.shape[0]
        watch = LazyWatch(
            {
                "accuracy": lambda: result.accuracy,
                "alignment": lambda: alignment(z[:n], z[n:]),
                "uniformity": lambda: uniformity(z[:n]),
                "rank_z": lambda: effective_rank(z),
                "rank_f": lambda: effective_rank(f),
            }
        )
        return Loss(result.loss, {"nt_xent": result.loss.detach()}, watch)
