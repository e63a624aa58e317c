"""Layers of a frozen encoder of the previous stage as targets: distillation into a smaller one.

Source: DistilHuBERT (arXiv 2110.01900, sections 2.2 and 2.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Count
from auricle.encoders.contract import Encoder, Grid, Layer, Tokens
from auricle.errors import ConfigError
from auricle.objectives.baselines import constant_prediction, regression_watch
from auricle.objectives.contract import Preparation, clean_audio
from auricle.objectives.distributed import float32_or_wider, masked_mean, mean_where
from auricle.objectives.predictive.decoder import full_grid
from auricle.objectives.predictive.heads import HeadConfig, LinearHeadConfig
from auricle.objectives.predictive.terms import Dims, Measure, TokensWhere, chosen_tokens, difference
from auricle.objectives.targets.alignment import align_frames
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss, Weight, shuffle_clips


@dataclass(frozen=True)
class LayerDistillationConfig(TermConfig):
    """Settings of distillation: one head for each layer of a frozen encoder, their losses added.

    The student may start from the teacher's lower part: weights of the same name and shape are copied before the first
    step (in DistilHuBERT the stem and the first two layers).

    Attributes:
        previous: the teacher, trained by the previous stage.
        layers: of the teacher, from 1.
        head: the map from the student's tokens to a layer.
        measure: see `terms.difference`; DistilHuBERT's is `l1_cosine`.
        dims: see `terms.difference`.
        where: tokens that are compared (see `RegressionConfig`).
        begin: copy the weights that student and teacher have in common.
        weight: of the term.
        name: of its parts in the log, followed by the layer's number.
    """

    previous: PreviousEncoderConfig = field(default_factory=PreviousEncoderConfig)
    layers: tuple[Count, ...] = (4, 8, 12)
    head: HeadConfig = field(default_factory=LinearHeadConfig)
    measure: Measure = "l1_cosine"
    dims: Dims = "mean"
    where: TokensWhere = "all"
    begin: bool = True
    weight: Weight = 1.0
    name: str = "layer"

    def __post_init__(self) -> None:
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"found layers {self.layers}; expected at least one, each named once")


class LayerDistillation(Term):
    """Predicts layers of the previous encoder; the sum over layers of the mean over tokens, in float32 (or wider)."""

    prepares = True

    def __init__(
        self, config: LayerDistillationConfig, encoder: Encoder, width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config, self.weight = config, config.weight
        self.previous = config.previous.build()
        if max(config.layers) > self.previous.depth:
            raise ConfigError(
                f"found layers {config.layers} to distil, and the encoder of the previous stage has "
                f"{self.previous.depth}; choose from 1 ... {self.previous.depth}"
            )
        self.heads = nn.ModuleList(config.head.build(width, self.previous.width, generator) for _ in config.layers)

    @torch.no_grad()
    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        self.previous.adopt(preparation.previous, "LayerDistillationConfig")
        if not self.config.begin:
            return
        own, its = encoder.state_dict(), self.previous.encoder.state_dict()
        shared = [name for name, tensor in own.items() if name in its and its[name].shape == tensor.shape]
        for name in shared:
            own[name].copy_(its[name])
        preparation.note(
            f"the student starts with {len(shared)} of its {len(own)} tensors from the previous stage"
            + ("" if shared else " (none has the name and shape of one of the teacher's)")
        )

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        config = self.config
        x, chosen = full_grid(decoded).x, chosen_tokens(config.where, masked_batch)
        taught = self.previous(clean_audio(masked_batch.clean, "LayerDistillationConfig"), config.layers)
        value: Tensor | None = None
        parts: dict[str, Tensor] = {}
        watch: dict[str, Callable[[], Tensor]] = {}
        for number, head, layer in zip(config.layers, self.heads, taught.layers or (), strict=True):
            target = on_grid(layer, masked_batch.grid)
            target = masked_batch.per_row(shuffle_clips(target) if shuffled else target)
            prediction = head(x)
            with torch.autocast(x.device.type, enabled=False):
                target = float32_or_wider(target)
                prediction = prediction.to(target.dtype)
                loss = mean_where(self._loss(prediction, target), chosen)
            value = loss if value is None else value + loss
            name = f"{config.name}{number}"
            parts[name] = loss.detach()
            made = regression_watch(self._loss, prediction, target, chosen, masked_batch.clones)
            made |= _cosines(prediction.detach(), target, chosen)
            watch |= {f"{name}/{what}": maker for what, maker in made.items()}
        if value is None:
            raise ConfigError("no layer is distilled; name at least one")
        return TermLoss(value, parts, watch)

    def _loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return difference(self.config.measure, self.config.dims, prediction, target)


def on_grid(layer: Layer, grid: Grid) -> Tensor:
    """Bring a layer of another encoder to a token grid, `(B, N, D)`: every k-th time step of it.

    A layer with one token a time step is repeated for all rows of the grid.

    Raises:
        ConfigError: rates, numbers or rows do not fit.
    """
    rows = layer.grid.freq
    if rows not in (1, grid.freq):
        raise ConfigError(
            f"the previous stage has {rows} tokens a time step and this encoder has {grid.freq}; choose an encoder "
            f"with {rows}, or a previous stage with {grid.freq} or 1"
        )
    steps = layer.block.unflatten(1, (layer.grid.time, rows)).flatten(2)
    x = align_frames(steps, layer.grid.rate, grid, "index", "a layer of the previous stage")
    return x.unflatten(2, (rows, -1)).expand(-1, -1, grid.freq, -1).flatten(1, 2)


def _cosines(prediction: Tensor, target: Tensor, chosen: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return makers of the mean cosine to the target, of the prediction and of the constant direction."""

    def of(guess: Tensor) -> Tensor:
        return masked_mean(F.cosine_similarity(guess, target, dim=-1), chosen)

    return {"cosine": lambda: of(prediction), "cosine_constant": lambda: of(constant_prediction(target, chosen))}
