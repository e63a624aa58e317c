"""Contrast of the code of a masked frame with those of other masked frames of the same clip: wav2vec 2.0's loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Count, Positive
from auricle.encoders.contract import Encoder
from auricle.encoders.parts.first_weights import initialise_linear
from auricle.encoders.parts.quantisers.gumbel import GumbelQuantiser
from auricle.objectives.baselines import position_prediction
from auricle.objectives.contrastive.embedding_statistics import effective_rank
from auricle.objectives.distributed import float32_or_wider, masked_mean, mean_where
from auricle.objectives.predictive.terms import source_layers
from auricle.objectives.targets.learned_codes import CodeReading, CodeUse, CodeUseConfig
from auricle.objectives.targets.target import TermLoss, Weight


@dataclass(frozen=True)
class QuantisedContrastConfig(CodeUseConfig):
    """Settings of the contrast. The defaults are wav2vec 2.0's (base).

    Cross-entropy of the true code among distractors, by cosine over a temperature, averaged over the chosen steps of
    all clips. Distractors are drawn, with replacement, from the other chosen steps of the same clip; those with the
    true code in every group are excluded.

    Source: wav2vec 2.0, arXiv 2006.11477, section 3.2, equation 3.

    Attributes:
        source: input of the prediction: `decoder`, `encoder`, or `layer 9`.
        dim: width of the compared vectors.
        distractors: drawn for each step.
        temperature: divides the cosine.
        weight: in the term.
        name: of its part in the log.
    """

    predicts = True

    source: str = "encoder"
    dim: Count = 256
    distractors: Count = 100
    temperature: Positive = 0.1
    weight: Weight = 1.0
    name: str = "contrast"

    def __post_init__(self) -> None:
        source_layers(self.source)


class QuantisedContrast(CodeUse):
    """See `QuantisedContrastConfig`. Similarities and loss are computed in float32 (or wider)."""

    def __init__(
        self,
        config: QuantisedContrastConfig,
        encoder: Encoder,
        width: int,
        quantiser: GumbelQuantiser,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.weight = config, config.weight
        self.layers = source_layers(config.source)
        self.context = nn.Linear(width if config.source == "decoder" else encoder.width, config.dim)
        self.codes = nn.Linear(quantiser.width_out, config.dim)
        initialise_linear(self, generator)

    def forward(self, reading: CodeReading) -> TermLoss:
        config, real, quantised = self.config, reading.places.real, reading.quantised
        prediction, target = self.context(reading.context(config.source)), self.codes(quantised.x)
        others = distractors(reading.draw(config.distractors), real.sum(1))
        same = identical(quantised.codes).gather(2, others)
        with torch.autocast(prediction.device.type, enabled=False):
            prediction, target = _unit(prediction), _unit(target)
            losses, margin = contrast(prediction, target, others, same, config.temperature)
            value = mean_where(losses, real)
        prediction, target = prediction.detach(), target.detach()
        kept = (~same).sum(2)

        def position() -> tuple[Tensor, Tensor]:
            places = reading.places
            chosen = places.put(real.unsqueeze(-1)).squeeze(-1)
            guess = position_prediction(places.put(target), chosen, reading.masked_batch.clones)
            return contrast(_unit(places.take(guess)), target, others, same, config.temperature)

        def chance() -> Tensor:
            return masked_mean((1.0 + kept).log(), real)

        def right(ahead: Tensor) -> Tensor:
            return masked_mean((ahead > 0).to(value.dtype), real)

        def ratio() -> Tensor:
            baseline = torch.minimum(masked_mean(position()[0], real), chance())
            return value.detach() / baseline.clamp(min=1e-12)

        watch: dict[str, Callable[[], Tensor]] = {
            "accuracy": lambda: right(margin.detach()),
            "chance": chance,
            "chance_accuracy": lambda: masked_mean(1 / (1.0 + kept), real),
            "position": lambda: masked_mean(position()[0], real),
            "position_accuracy": lambda: right(position()[1]),
            "position_ratio": ratio,
            "rank_prediction": lambda: effective_rank(prediction[real][:2048]),
        }
        return TermLoss.of(config.name, value, watch)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(float32_or_wider(x), dim=-1)


def distractors(uniform: Tensor, count: Tensor) -> Tensor:
    """Return, for each position of a row, other positions of that row.

    Args:
        uniform: `(R, C, K)` in [0, 1): one number for each distractor.
        count: `(R,)` number of real positions among the C; they come first.

    Returns:
        `(R, C, K)` int64 columns: the others equally likely, never its own unless a row has no other.
    """
    last = (count - 1).clamp(min=0)[:, None, None]
    # In double precision, so that a number just below 1 times the count stays below the count.
    drawn = (uniform.double() * last).long()
    own = torch.arange(uniform.shape[1], device=uniform.device)[None, :, None]
    return torch.minimum(drawn + (drawn >= own).long(), last)


def identical(codes: Tensor) -> Tensor:
    """Return `(R, C, C)` bool from `codes (R, C, G)`: which positions have the same code in every group."""
    return (codes.unsqueeze(2) == codes.unsqueeze(1)).all(-1)


def contrast(
    prediction: Tensor, target: Tensor, others: Tensor, same: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of each position's own target among distractors, and its margin over them.

    Args:
        prediction: `(R, C, D)` of unit length.
        target: `(R, C, D)` of unit length.
        others: `(R, C, K)` columns of the distractors.
        same: `(R, C, K)` bool: those to exclude.
        temperature: divides the cosine.

    Returns:
        Two tensors `(R, C)`. Where all distractors are excluded, the loss is 0 and the margin infinite.
    """
    # All similarities of a row at once: far fewer numbers than a vector for each distractor.
    similarity = prediction @ target.transpose(1, 2) / temperature
    positive = similarity.diagonal(dim1=1, dim2=2)
    negative = similarity.gather(2, others).masked_fill(same, -torch.inf)
    losses = torch.logsumexp(torch.cat([positive.unsqueeze(2), negative], 2), 2) - positive
    return losses, positive - negative.amax(2)
