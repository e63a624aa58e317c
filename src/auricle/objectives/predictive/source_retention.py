"""Retention of sources: from a mixture, the mean of a teacher's latents of each source alone.

Source: SSLAM, arXiv 2506.12222, and its released code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from auricle.encoders.contract import Encoder, Grid, Tokens
from auricle.errors import ConfigError
from auricle.objectives.baselines import regression_watch
from auricle.objectives.predictive.decoder import full_grid
from auricle.objectives.predictive.heads import HeadConfig, LinearHeadConfig
from auricle.objectives.predictive.masked_prediction import altered_tokens
from auricle.objectives.predictive.terms import Dims, Measure, Reduce, chosen_tokens, difference, reduce_tokens
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss, Weight, shuffle_clips
from auricle.objectives.targets.teachers import TeacherTargetConfig


@dataclass(frozen=True)
class SourceRetentionConfig(TermConfig):
    """Settings of the retention of sources.

    The term reads two entries of the view's certificate (`PartialMaxMixConfig` writes them): `partner (B,)`, the number
    of the clip that was mixed in (-1: none), and `mixed (B, T)`, the frames with the mixture. Clean clips and mixtures
    must lie in one batch, each clip followed by its mixture (`JointViewsConfig`).

    Attributes:
        target: the teacher's latents of a clip alone.
        head: the map to the target.
        measure: see `terms.difference`.
        dims: see `terms.difference`.
        reduce: see `terms.reduce_tokens`.
        weight: of the term.
        name: of its part in the log.
    """

    target: TeacherTargetConfig = field(default_factory=lambda: TeacherTargetConfig(after="layer"))
    head: HeadConfig = field(default_factory=LinearHeadConfig)
    measure: Measure = "l2"
    dims: Dims = "sum/sqrt"
    reduce: Reduce = "token_mean"
    weight: Weight = 1.0
    name: str = "retention"

    def __post_init__(self) -> None:
        if self.target.sight != "all":
            raise ConfigError("the teacher must see whole clips; set the target's sight to all")


class SourceRetention(Term):
    """Predicts, in the masked tokens of mixtures, the teacher's latents of the clips alone.

    In mixed stretches the target is the mean of both clips' latents, elsewhere the clip's own.
    """

    def __init__(self, config: SourceRetentionConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.weight = config, config.weight
        self.target = config.target.build(encoder, generator)
        self.head = config.head.build(width, self.target.size, generator)

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        partner, mixed = mixtures(masked_batch)
        latents: Tensor = self.target(masked_batch)
        inside = mixed_tokens(mixed, masked_batch.grid)
        target = sources(latents, partner, inside)
        if shuffled:
            target = shuffle_clips(target, 2)
        target, config = masked_batch.per_row(target), self.config
        prediction = self.head(full_grid(decoded).x)
        mixture = masked_batch.per_row(partner >= 0).to(prediction.device)
        chosen = chosen_tokens("predicted", masked_batch) & mixture.unsqueeze(1)

        def loss(guess: Tensor, true: Tensor) -> Tensor:
            return difference(config.measure, config.dims, guess, true)

        with torch.autocast(prediction.device.type, enabled=False):
            prediction = prediction.to(target.dtype)
            value = reduce_tokens(loss(prediction, target), chosen, config.reduce)
        watch = regression_watch(loss, prediction, target, chosen, masked_batch.clones)
        return TermLoss.of(config.name, value, watch)


def mixtures(masked_batch: MaskedBatch) -> tuple[Tensor, Tensor]:
    """Return `partner (2 B,)` and `mixed (2 B, T)` of a batch in which each clip is followed by its mixture.

    Both belong to the view that targets are taken from.

    Raises:
        ConfigError: the certificate lacks them, or partners are not in the batch.
    """
    certificate = masked_batch.clean.certificate
    if "partner" not in certificate or "mixed" not in certificate:
        raise ConfigError(
            "the term needs mixtures and the views have none; make them by PartialMaxMixConfig in a ViewPlanConfig "
            "with clean=(0,)"
        )
    partner, rows = certificate["partner"], len(masked_batch.clean)
    if rows % 2 or bool((partner >= rows // 2).any()) or bool((partner[0::2] >= 0).any()):
        raise ConfigError(
            "mixing partners are not among the clean clips of the batch; use JointViewsConfig with a clean first view, "
            "and leave --train.micro-batch out: micro-batches separate the partners"
        )
    return partner, certificate["mixed"]


def sources(latents: Tensor, partner: Tensor, mixed: Tensor) -> Tensor:
    """Return the latents of the clips alone: where they are mixed, the mean of both; rows without partner keep theirs.

    Args:
        latents: `(2 B, N, D)`: each clean clip and its mixture in turn.
        partner: `(2 B,)` number of the clip that was mixed in, 0 ... B - 1; -1: none.
        mixed: `(2 B, N)` bool, the tokens with the mixture.
    """
    partner, mixed = partner.to(latents.device), mixed.to(latents.device)
    clean = latents[0::2]
    own = clean.repeat_interleave(2, 0)
    other = torch.where(mixed.unsqueeze(2), clean[partner.clamp(min=0)], own)
    return torch.where((partner >= 0)[:, None, None], (own + other) / 2, latents)


def mixed_tokens(mixed: Tensor, grid: Grid) -> Tensor:
    """Return `(B, N)` bool: tokens of which at least half of the frames `mixed (B, T)` are mixed."""
    return altered_tokens(mixed.unsqueeze(2).expand(-1, -1, grid.freq), grid)
