"""Reconstruction of the elements that a corruption altered: masked acoustic models.

A corruption may alter seven frames, or a few bands of a whole clip, without covering half of any token: the loss is
that of the altered elements themselves, not of tokens. Letters in shapes: B clips, T frames, F bands, R rows, N tokens,
P = frames * bands of a token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from auricle.encoders.contract import Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.baselines import position_prediction, spread
from auricle.objectives.contrastive.embedding_statistics import effective_rank
from auricle.objectives.distributed import masked_mean, mean_where
from auricle.objectives.predictive.decoder import full_grid
from auricle.objectives.predictive.heads import HeadConfig, LinearHeadConfig
from auricle.objectives.predictive.terms import read_source, source_layers
from auricle.objectives.targets.alignment import patch_size, patches
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss, Weight, shuffle_clips


@dataclass(frozen=True)
class AlteredRegressionConfig(TermConfig):
    """Settings of the reconstruction of altered elements.

    The target are the clean features of the chosen elements. Source: Mockingjay (arXiv 1910.12638, section 2.2), TERA
    (2007.06028, section 3).

    Attributes:
        head: the map from a token to its P elements.
        source: `decoder`, `encoder`, or `layer 9`.
        measure: `l1` (absolute difference) or `l2` (its square).
        weight: of the term.
        name: of its part in the log.
    """

    head: HeadConfig = field(default_factory=LinearHeadConfig)
    source: str = "decoder"
    measure: Literal["l1", "l2"] = "l1"
    weight: Weight = 1.0
    name: str = "reconstruction"

    def __post_init__(self) -> None:
        source_layers(self.source)


class AlteredRegression(Term):
    """The mean difference from the clean features over all altered elements of all clips; computed in float32.

    Monitored baselines: `constant` (each element's mean), `position` (the mean of the other clips at that position),
    `clip_mean` (each band's mean over the clip's unaltered frames) and `interpolation` (a straight line in time between
    the nearest unaltered frames).
    """

    def __init__(
        self, config: AlteredRegressionConfig, encoder: Encoder, width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.weight = config.weight
        self.layers = source_layers(config.source)
        self.patch = patch_size(encoder)
        width = width if config.source == "decoder" else encoder.width
        self.head = config.head.build(width, self.patch[0] * self.patch[1], generator)

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        if masked_batch.altered is None:
            raise ConfigError(
                "AlteredRegressionConfig reconstructs altered elements and there is no corruption; set "
                "objective.corruption, or use RegressionConfig"
            )
        features = masked_batch.clean.features
        target = self._cut(masked_batch, features.x)
        altered = self._cut(masked_batch, masked_batch.altered.to(features.x.dtype)) > 0.5
        if shuffled:
            target = shuffle_clips(target)
        target, altered = masked_batch.per_row(target), masked_batch.per_row(altered)
        prediction = self.head(full_grid(read_source(self.config.source, masked_batch, decoded)).x)
        with torch.autocast(prediction.device.type, enabled=False):
            prediction = prediction.to(target.dtype)
            value = mean_where(self._measure(prediction - target), altered)
        watch = self._watch(masked_batch, prediction.detach(), target, altered)
        return TermLoss.of(self.config.name, value, watch)

    def _measure(self, difference: Tensor) -> Tensor:
        return difference.abs() if self.config.measure == "l1" else difference.square()

    def _cut(self, masked_batch: MaskedBatch, x: Tensor) -> Tensor:
        # The grid of the output: that of the input may be finer.
        return patches(replace(masked_batch.clean.features, x=x, pad=0.0), masked_batch.out.grid, self.patch)

    def _watch(
        self, masked_batch: MaskedBatch, prediction: Tensor, target: Tensor, altered: Tensor
    ) -> dict[str, Callable[[], Tensor]]:
        def of(guess: Tensor) -> Tensor:
            return masked_mean(self._measure(guess - target), altered)

        def guessed(guess: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
            features, chosen = masked_batch.clean.features, masked_batch.altered
            x = features.x if chosen is None else guess(features.x, chosen, features.lengths)
            return of(masked_batch.per_row(self._cut(masked_batch, x)))

        def position() -> Tensor:
            # Each element is a position, and counts where it was altered.
            flat, chosen = target.flatten(1).unsqueeze(-1), altered.flatten(1)
            return of(position_prediction(flat, chosen, masked_batch.clones).view_as(target))

        tokens = altered.any(-1)
        weight = altered.to(target.dtype)
        return {
            "constant": lambda: of((target * weight).sum((0, 1)) / weight.sum((0, 1)).clamp(min=1)),
            "position": position,
            "position_ratio": lambda: of(prediction) / position().clamp(min=1e-12),
            "clip_mean": lambda: guessed(clip_means),
            "interpolation": lambda: guessed(interpolated),
            "std_target": lambda: spread(target, tokens),
            "std_prediction": lambda: spread(prediction, tokens),
            "rank_prediction": lambda: effective_rank(prediction[tokens][:2048]),
        }


@torch.no_grad()
def clip_means(x: Tensor, altered: Tensor, lengths: Tensor) -> Tensor:
    """Return, everywhere, each band's mean over its clip's unaltered valid frames; 0 where a band has none.

    Args:
        x: `(B, T, F)`.
        altered: `(B, T, F)` bool.
        lengths: `(B,)` valid frames.
    """
    shown = (~altered & _valid(x, lengths)).to(x.dtype)
    return ((x * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True).clamp(min=1)).expand_as(x)


@torch.no_grad()
def interpolated(x: Tensor, altered: Tensor, lengths: Tensor) -> Tensor:
    """Return the features with altered elements on straight lines in time between their unaltered neighbours.

    Before the first and after the last unaltered frame of a band their values are repeated; a band without any is 0.

    Args:
        x: `(B, T, F)`.
        altered: `(B, T, F)` bool.
        lengths: `(B,)` valid frames.
    """
    shown, frames = ~altered & _valid(x, lengths), x.shape[1]
    frame = torch.arange(frames, device=x.device)[None, :, None].expand_as(altered)
    before = torch.where(shown, frame, -1).cummax(1).values
    after = torch.where(shown, frame, frames).flip(1).cummin(1).values.flip(1)
    first = torch.where(before < 0, after, before).clamp(0, frames - 1)
    last = torch.where(after == frames, before, after).clamp(0, frames - 1)
    share = (frame - first).to(x.dtype) / (last - first).clamp(min=1).to(x.dtype)
    line = x.gather(1, first) * (1 - share) + x.gather(1, last) * share
    return torch.where(altered, line * shown.any(1, keepdim=True), x)


def _valid(x: Tensor, lengths: Tensor) -> Tensor:
    return (torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None])[..., None]
