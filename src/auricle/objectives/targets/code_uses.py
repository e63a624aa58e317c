"""Uses of learned codes beside a contrast: diversity, prediction of their numbers, reconstruction from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Natural
from auricle.encoders.contract import Encoder
from auricle.encoders.parts.quantisers.gumbel import GumbelQuantiser
from auricle.objectives.baselines import code_watch, regression_watch
from auricle.objectives.distributed import float32_or_wider
from auricle.objectives.predictive.heads import HeadConfig, LinearHeadConfig, MlpHeadConfig
from auricle.objectives.predictive.terms import Dims, Measure, Reduce, difference, reduce_tokens, source_layers
from auricle.objectives.targets.inner_codes import diversity_loss
from auricle.objectives.targets.learned_codes import CodeReading, CodeUse, CodeUseConfig
from auricle.objectives.targets.target import TargetConfig, TermLoss, Weight


@dataclass(frozen=True)
class CodeDiversityConfig(CodeUseConfig):
    """Pulls towards using all entries equally, by `inner_codes.diversity_loss` over the chosen tokens of all ranks.

    Source: wav2vec 2.0, arXiv 2006.11477, section 3.2, equation 4, in the form that its code released in fairseq has.

    Attributes:
        weight: in the term.
        name: of its part in the log.
    """

    weight: Weight = 0.1
    name: str = "diversity"


class CodeDiversity(CodeUse):
    """See `CodeDiversityConfig`."""

    def __init__(
        self,
        config: CodeDiversityConfig,
        encoder: Encoder,
        width: int,
        quantiser: GumbelQuantiser,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.weight, self.name = config.weight, config.name

    def forward(self, reading: CodeReading) -> TermLoss:
        return TermLoss.of(self.name, diversity_loss(reading.quantised), {})


@dataclass(frozen=True)
class CodeLabelsConfig(CodeUseConfig):
    """Predicts the numbers of the codes by cross-entropy, averaged over the groups of a token.

    The numbers are labels: no gradient reaches the quantiser this way.

    Source: w2v-BERT, arXiv 2108.06209, section 3.2 (masked prediction of the contrastive module's own codes).

    Attributes:
        source: input of the prediction: `decoder`, `encoder`, or `layer 9`.
        head: the map to the logits of a group.
        reduce: see `terms.reduce_tokens`.
        weight: in the term.
        ramp_steps: steps over which the weight rises from a tenth of itself (w2v-BERT in WeNet: the warm-up).
        name: of its part in the log.
    """

    predicts = True

    source: str = "encoder"
    head: HeadConfig = field(default_factory=LinearHeadConfig)
    reduce: Reduce = "token_mean"
    weight: Weight = 1.0
    ramp_steps: Natural = 0
    name: str = "labels"

    def __post_init__(self) -> None:
        source_layers(self.source)


class CodeLabels(CodeUse):
    """See `CodeLabelsConfig`."""

    def __init__(
        self,
        config: CodeLabelsConfig,
        encoder: Encoder,
        width: int,
        quantiser: GumbelQuantiser,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.weight, self.entries = config, config.weight, quantiser.entries
        self.layers = source_layers(config.source)
        width = width if config.source == "decoder" else encoder.width
        self.heads = nn.ModuleList(config.head.build(width, self.entries, generator) for _ in range(quantiser.groups))

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
                logits = float32_or_wider(logits)
                losses = F.cross_entropy(logits, codes[..., group][real], reduction="none")
                each = losses.new_zeros(real.shape).masked_scatter(real, losses)
                value = value + reduce_tokens(each, real, config.reduce) / len(self.heads)
            tag = config.name if len(self.heads) == 1 else f"{config.name}{group}"
            made = code_watch(logits, grid[..., group], chosen, self.entries, reading.masked_batch.clones)
            watch |= {f"{tag}/{name}": maker for name, maker in made.items()}
        ramp = min(1.0, 0.1 + 0.9 * reading.masked_batch.step / config.ramp_steps) if config.ramp_steps else 1.0
        return TermLoss(value * ramp, {config.name: value.detach()}, watch)


@dataclass(frozen=True)
class CodeRegressionConfig(CodeUseConfig):
    """Predicts a continuous target from the codes alone.

    Source: DeCoAR 2.0, arXiv 2012.06659, section 2 (a quantiser between encoder and reconstruction).

    Attributes:
        target: one continuous value a token.
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
    weight: Weight = 1.0
    name: str = "reconstruction"


class CodeRegression(CodeUse):
    """See `CodeRegressionConfig`."""

    def __init__(
        self,
        config: CodeRegressionConfig,
        encoder: Encoder,
        width: int,
        quantiser: GumbelQuantiser,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.weight = config, config.weight
        self.target = config.target.build(encoder, generator)
        self.target.refuse_codes("a reconstruction from codes")
        self.head = config.head.build(quantiser.width_out, self.target.size, generator)

    def forward(self, reading: CodeReading) -> TermLoss:
        config, masked_batch, places = self.config, reading.masked_batch, reading.places
        target = places.take(self.target.of_rows(masked_batch, reading.shuffled))
        prediction = self.head(reading.quantised.x)

        def loss(guess: Tensor, truth: Tensor) -> Tensor:
            return difference(config.measure, config.dims, guess, truth)

        with torch.autocast(prediction.device.type, enabled=False):
            prediction = prediction.to(target.dtype)
            value = reduce_tokens(loss(prediction, target), places.real, config.reduce)
        # Baselines need the positions on the grid.
        chosen = places.put(places.real.unsqueeze(-1)).squeeze(-1)
        guess, truth = places.put(prediction.detach()), places.put(target)
        watch = regression_watch(loss, guess, truth, chosen, masked_batch.clones)
        return TermLoss.of(config.name, value, watch)
