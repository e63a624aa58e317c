"""What learned codes are used for beside a contrast: pulled apart, predicted by their number, reconstructed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import nearest
from auricle.encoders.contract import Encoder
from auricle.encoders.parts.gumbel_quantiser import GumbelQuantiser, perplexity
from auricle.errors import ConfigError
from auricle.objectives.baselines import code_watch, regression_watch
from auricle.objectives.contract import Preparation
from auricle.objectives.distributed import gather_rows
from auricle.objectives.predictive.heads import HeadConfig, LinearHeadConfig, MlpHeadConfig
from auricle.objectives.predictive.terms import Dims, Measure, Reduce, difference, reduce_tokens, source_layers
from auricle.objectives.targets.learned_codes import CodeReading, CodeUse, CodeUseConfig
from auricle.objectives.targets.target import TargetConfig, TermLoss, shuffle_clips


@dataclass(frozen=True)
class CodeDiversityConfig(CodeUseConfig):
    """Pulls towards using all entries equally: (G V - sum of perplexities) / (G V), from 0 (all used) to almost 1.

    A group's perplexity is exp of the entropy of its softmax (without noise), averaged over the chosen tokens of all
    ranks.

    Source: wav2vec 2.0, arXiv 2006.11477, section 3.2, equation 4, in the form that its code released in fairseq has.

    Attributes:
        weight: in the term.
        name: of its part in the log.
    """

    weight: float = 0.1
    name: str = "diversity"


class CodeDiversity(CodeUse):
    """See its settings."""

    def __init__(self, config: CodeDiversityConfig) -> None:
        super().__init__()
        self.weight, self.name = config.weight, config.name

    def forward(self, reading: CodeReading) -> TermLoss:
        quantised = reading.quantised
        with torch.autocast(quantised.x.device.type, enabled=False):
            # The softmax of a rank counts by its tokens, so that ranks together are one batch.
            count = gather_rows(quantised.count.reshape(1))
            share = gather_rows((quantised.probabilities * quantised.count).unsqueeze(0)).sum(0)
            used = perplexity(share / count.sum().clamp(min=1))
            value = 1 - used.sum() / quantised.probabilities.numel()
        return TermLoss(value, {self.name: value.detach()}, {})


@dataclass(frozen=True)
class CodeLabelsConfig(CodeUseConfig):
    """Predicts the numbers of the codes by cross-entropy, averaged over the groups of a token.

    The numbers are labels: no gradient reaches the quantiser this way.

    Source: w2v-BERT, arXiv 2108.06209, section 3.2 (masked prediction of the contrastive module's own codes).

    Attributes:
        source: what predicts: `decoder`, `encoder`, or `layer 9`.
        head: the map to the logits of a group.
        reduce: see `terms.reduce_tokens`.
        weight: in the term.
        name: of its part in the log.
    """

    predicts = True

    source: str = "encoder"
    head: HeadConfig = field(default_factory=LinearHeadConfig)
    reduce: Reduce = "token_mean"
    weight: float = 1.0
    name: str = "labels"

    def __post_init__(self) -> None:
        source_layers(self.source)
        _check_name("reduce", self.reduce, Reduce)


class CodeLabels(CodeUse):
    """See its settings."""

    def __init__(
        self, config: CodeLabelsConfig, width: int, groups: int, entries: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config, self.weight, self.entries = config, config.weight, entries
        self.layers = source_layers(config.source)
        self.heads = nn.ModuleList(config.head.build(width, entries, generator) for _ in range(groups))

    def forward(self, reading: CodeReading) -> TermLoss:
        config, places = self.config, reading.places
        real, codes = places.real, reading.quantised.codes
        picked = reading.context(config.source)[real]
        value = torch.zeros((), device=picked.device)
        watch: dict[str, Callable[[], Tensor]] = {}
        chosen, grid = places.put(real.unsqueeze(-1)).squeeze(-1), places.put(codes)
        for group, head in enumerate(self.heads):
            logits = head(picked)
            with torch.autocast(picked.device.type, enabled=False):
                logits = logits if logits.dtype == torch.float64 else logits.float()
                losses = F.cross_entropy(logits, codes[..., group][real], reduction="none")
                each = losses.new_zeros(real.shape).masked_scatter(real, losses)
                value = value + reduce_tokens(each, real, config.reduce) / len(self.heads)
            tag = config.name if len(self.heads) == 1 else f"{config.name}{group}"
            made = code_watch(logits, grid[..., group], chosen, self.entries, reading.masked_batch.clones)
            watch |= {f"{tag}/{name}": maker for name, maker in made.items()}
        return TermLoss(value, {config.name: value.detach()}, watch)


@dataclass(frozen=True)
class CodeRegressionConfig(CodeUseConfig):
    """Predicts a continuous target from the codes alone: what they leave out can't be told.

    Source: DeCoAR 2.0, arXiv 2012.06659, section 2 (a quantiser between encoder and reconstruction).

    Attributes:
        target: what is predicted: one value a token.
        head: the map from the codes' entries.
        measure: see `terms.difference`.
        dims: see `terms.difference`.
        reduce: see `terms.reduce_tokens`.
        weight: in the term.
        name: of its part in the log.
    """

    target: TargetConfig
    head: HeadConfig = field(default_factory=MlpHeadConfig)
    measure: Measure = "l1"
    dims: Dims = "mean"
    reduce: Reduce = "token_mean"
    weight: float = 1.0
    name: str = "reconstruction"

    def __post_init__(self) -> None:
        for name, known in (("measure", Measure), ("dims", Dims), ("reduce", Reduce)):
            _check_name(name, getattr(self, name), known)


class CodeRegression(CodeUse):
    """See its settings."""

    def __init__(self, config: CodeRegressionConfig, encoder: Encoder, codes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.weight = config, config.weight
        self.target = config.target.build(encoder, generator)
        if self.target.books or self.target.clip:
            raise ConfigError(
                f"{type(config.target).__name__} gives codes, or one value a clip; a reconstruction from codes needs "
                "continuous values for every token"
            )
        self.head = config.head.build(codes, self.target.size, generator)
        self.prepares = self.target.prepares

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        self.target.prepare(encoder, preparation)

    def after_step(self, encoder: Encoder, step: int) -> None:
        self.target.after_step(encoder, step)

    def forward(self, reading: CodeReading) -> TermLoss:
        config, masked_batch, places = self.config, reading.masked_batch, reading.places
        target: Tensor = self.target(masked_batch)
        per_clip = target.shape[0] == len(masked_batch.view)
        if reading.shuffled:
            target = shuffle_clips(target, 1 if per_clip else masked_batch.clones)
        target = places.take(masked_batch.per_row(target) if per_clip else target)
        prediction = self.head(reading.quantised.x)

        def loss(guess: Tensor, truth: Tensor) -> Tensor:
            return difference(config.measure, config.dims, guess, truth)

        with torch.autocast(prediction.device.type, enabled=False):
            prediction = prediction.to(target.dtype)
            value = reduce_tokens(loss(prediction, target), places.real, config.reduce)
        # Baselines go by the place on the grid.
        chosen = places.put(places.real.unsqueeze(-1)).squeeze(-1)
        guess, truth = places.put(prediction.detach()), places.put(target)
        watch = regression_watch(loss, guess, truth, chosen, masked_batch.clones)
        return TermLoss(value, {config.name: value.detach()}, {f"{config.name}/{k}": v for k, v in watch.items()})


def _check_name(name: str, value: str, known: object) -> None:
    if value not in get_args(known):
        raise ConfigError(f"unknown {name} {value!r}{nearest(value, get_args(known))}")
