"""The two loss terms of most methods: regression of continuous targets, and prediction of codes.

Each has a target, a head, a source of its input, the tokens that are compared, and a reduction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.contract import Ability, Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.baselines import code_watch, regression_watch
from auricle.objectives.distributed import float32_or_wider, global_mean, mean_where, world
from auricle.objectives.predictive.decoder import full_grid
from auricle.objectives.predictive.heads import HeadConfig, LinearHeadConfig
from auricle.objectives.targets.target import MaskedBatch, TargetConfig, Term, TermConfig, TermLoss, Weight

TokensWhere = Literal["predicted", "masked", "visible", "all"]
Where = Literal["predicted", "masked", "visible", "all", "clip"]
Measure = Literal["l1", "l2", "smooth_l1", "cosine", "l1_cosine"]
Reduce = Literal["token_mean", "clip_mean", "clip_sum"]
Dims = Literal["mean", "sum", "sum/sqrt"]


def chosen_tokens(where: TokensWhere, masked_batch: MaskedBatch) -> Tensor:
    """Return `(R, N)` bool: the tokens that a term compares, without padding."""
    mask = masked_batch.mask
    picked = {
        "predicted": mask.predicted,
        "masked": mask.masked,
        "visible": ~mask.masked,
        "all": torch.ones_like(mask.masked),
    }[where]
    return picked if masked_batch.valid is None else picked & masked_batch.per_row(masked_batch.valid)


def difference(measure: Measure, dims: Dims, prediction: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each vector, `(...)` from `(..., D)`.

    Args:
        measure: `l1`, `l2` (squared), `smooth_l1`; `cosine`: 2 - 2 cos (BYOL's); `l1_cosine`: mean absolute difference
            minus log sigmoid(cos) (DistilHuBERT, arXiv 2110.01900, equation 1).
        dims: how the dimensions of the first three are joined: `mean`, `sum`, or `sum/sqrt` (data2vec's sum / sqrt(D)).
        prediction: `(..., D)`.
        target: `(..., D)`.
    """
    if measure == "cosine":
        return 2 - 2 * F.cosine_similarity(prediction, target, dim=-1)
    if measure == "l1_cosine":
        absolute = (prediction - target).abs().mean(-1)
        return absolute - F.logsigmoid(F.cosine_similarity(prediction, target, dim=-1))
    if measure == "l2":
        values = (prediction - target).square()
    elif measure == "l1":
        values = (prediction - target).abs()
    else:
        values = F.smooth_l1_loss(prediction, target, reduction="none")
    if dims == "mean":
        return values.mean(-1)
    total = values.sum(-1)
    return total if dims == "sum" else total / prediction.shape[-1] ** 0.5


def reduce_tokens(values: Tensor, chosen: Tensor, reduce: Reduce) -> Tensor:
    """Return a scalar from `values (R, N)` on `chosen (R, N)`; ranks average to the global value.

    Args:
        values: of each token.
        chosen: the tokens that count.
        reduce: `token_mean`: over all tokens of all clips; `clip_mean`: over each clip's, then over clips; `clip_sum`:
            over each clip's, then summed over all clips of all ranks (EAT's released code sums over those of one
            device; gradients accumulated over micro-batches sum over those of one micro-batch).
    """
    if reduce == "token_mean":
        return mean_where(values, chosen)
    chosen = chosen.to(values.dtype)
    count = chosen.sum(1)
    by_clip = (values * chosen).sum(1) / count.clamp(min=1)
    any_chosen = (count > 0).to(values.dtype)
    if reduce == "clip_mean":
        return global_mean((by_clip * any_chosen).sum(), any_chosen.sum())
    return (by_clip * any_chosen).sum() * world()


def read_source(source: str, masked_batch: MaskedBatch, decoded: Tokens) -> Tokens:
    """Return a term's input: the decoder's output, the encoder's, or a hidden layer's (`layer 9`)."""
    if source == "decoder":
        return decoded
    if source == "encoder":
        return masked_batch.out
    layer = masked_batch.layers[int(source.removeprefix("layer "))]
    return Tokens(layer.block, layer.grid, index=masked_batch.out.index, cls=layer.cls)


def source_layers(source: str) -> tuple[int, ...]:
    """Return the hidden layers that a source needs.

    Raises:
        ConfigError: there is no such source.
    """
    if source in ("decoder", "encoder"):
        return ()
    number = source.removeprefix("layer ")
    if source == number or not number.isdigit() or int(number) < 1:
        raise ConfigError(f"unknown source {source!r}; choose decoder, encoder, or `layer 9` (from 1)")
    return (int(number),)


@dataclass(frozen=True)
class RegressionConfig(TermConfig):
    """Settings of a regression term.

    Attributes:
        target: of the prediction.
        head: the map to the target.
        where: tokens that are compared: `predicted` (those that the mask wants predicted: the masked ones for most),
            `masked`, `visible`, `all`; `clip`: one vector a clip, from the class token (the pooled vector where there
            is none).
        source: `decoder`, `encoder`, or `layer 9`.
        measure: see `difference`.
        dims: see `difference`.
        reduce: see `reduce_tokens`.
        weight: of the term.
        name: of its part in the log.
    """

    target: TargetConfig
    head: HeadConfig = field(default_factory=LinearHeadConfig)
    where: Where = "predicted"
    source: str = "decoder"
    measure: Measure = "l2"
    dims: Dims = "mean"
    reduce: Reduce = "token_mean"
    weight: Weight = 1.0
    name: str = "regression"

    def __post_init__(self) -> None:
        source_layers(self.source)


class Regression(Term):
    """Predicts a continuous target by a head; the loss is computed in float32."""

    def __init__(self, config: RegressionConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.weight, self.layers = config, config.weight, source_layers(config.source)
        self.target = config.target.build(encoder, generator)
        if self.target.codebooks:
            raise ConfigError(
                f"{type(config.target).__name__} gives codes; a regression needs continuous values: use CodeConfig"
            )
        if (config.where == "clip") != self.target.clip:
            raise ConfigError(
                f"{type(config.target).__name__} gives one value a {'clip' if self.target.clip else 'token'}; set the "
                f"term's `where` to {'clip' if self.target.clip else 'predicted, masked, visible or all'}"
            )
        if config.where == "clip":
            width = encoder.width if Ability.CLS in encoder.abilities else encoder.pooled_width
        elif config.source != "decoder":
            width = encoder.width
        self.head = config.head.build(width, self.target.size, generator)

    def _loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return difference(self.config.measure, self.config.dims, prediction, target)

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        config = self.config
        target = self.target.of_rows(masked_batch, shuffled)
        if config.where == "clip":
            out = masked_batch.out
            pooled = out.cls[:, 0] if out.cls is not None else masked_batch.encoder.pool(out)
            prediction, target = self.head(pooled).unsqueeze(1), target.unsqueeze(1)
            chosen = torch.ones(prediction.shape[:2], dtype=torch.bool, device=prediction.device)
        else:
            prediction = self.head(full_grid(read_source(config.source, masked_batch, decoded)).x)
            chosen = chosen_tokens(config.where, masked_batch)
        with torch.autocast(prediction.device.type, enabled=False):
            prediction = prediction.to(target.dtype)
            value = reduce_tokens(self._loss(prediction, target), chosen, config.reduce)
        watch = regression_watch(self._loss, prediction, target, chosen, masked_batch.clones)
        return TermLoss.of(config.name, value, watch)


@dataclass(frozen=True)
class CodeConfig(TermConfig, builds="Codes"):
    """Settings of a term that predicts codes by cross-entropy.

    Attributes:
        target: gives the codes.
        head: the map to the logits of each code; one for each codebook.
        where: tokens that are compared (see `RegressionConfig`).
        source: `decoder`, `encoder`, or `layer 9`.
        reduce: see `reduce_tokens`.
        weight: of the term.
        name: of its part in the log.
    """

    target: TargetConfig
    head: HeadConfig = field(default_factory=LinearHeadConfig)
    where: TokensWhere = "predicted"
    source: str = "decoder"
    reduce: Reduce = "token_mean"
    weight: Weight = 1.0
    name: str = "codes"

    def __post_init__(self) -> None:
        source_layers(self.source)


class Codes(Term):
    """Predicts codes: softmax cross-entropy, averaged over the codebooks of a token."""

    def __init__(self, config: CodeConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.weight, self.layers = config, config.weight, source_layers(config.source)
        self.target = config.target.build(encoder, generator)
        if not self.target.codebooks:
            raise ConfigError(
                f"{type(config.target).__name__} gives continuous values; codes are needed here: use RegressionConfig"
            )
        width = width if config.source == "decoder" else encoder.width
        self.heads = nn.ModuleList(
            config.head.build(width, self.target.size, generator) for _ in range(self.target.codebooks)
        )

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        config, size = self.config, self.target.size
        codes = self.target.of_rows(masked_batch, shuffled)
        tokens = full_grid(read_source(config.source, masked_batch, decoded)).x
        chosen = chosen_tokens(config.where, masked_batch)
        picked = tokens[chosen]  # logits of thousands of codes only where they are needed
        value = tokens.new_zeros((), dtype=torch.float32)
        watch: dict[str, Callable[[], Tensor]] = {}
        for number, head in enumerate(self.heads):
            logits = head(picked)
            with torch.autocast(picked.device.type, enabled=False):
                logits = float32_or_wider(logits)
                losses = F.cross_entropy(logits, codes[..., number][chosen], reduction="none")
                each = losses.new_zeros(chosen.shape).masked_scatter(chosen, losses)
                value = value + reduce_tokens(each, chosen, config.reduce) / len(self.heads)
            if number == 0 or len(self.heads) <= 4:
                tag = config.name if len(self.heads) == 1 else f"{config.name}{number}"
                made = code_watch(logits, codes[..., number], chosen, size, masked_batch.clones)
                watch |= {f"{tag}/{name}": maker for name, maker in made.items()}
        return TermLoss(value, {config.name: value.detach()}, watch)
