"""Bootstrapped tokens: a student's projector and predictor against a slow copy of encoder and projector.

Source: ATST-Frame, arXiv 2306.04186 (section III) and its released code, which carries BYOL (arXiv 2006.07733) from
clips to tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from auricle.config import Count
from auricle.encoders.contract import Encoder, Tokens
from auricle.encoders.conv_encoder import draw_weights
from auricle.encoders.parts.batch_norm import normalise
from auricle.encoders.parts.feature_map import FeatureMap
from auricle.errors import ConfigError
from auricle.objectives.baselines import regression_watch
from auricle.objectives.distributed import mean_where
from auricle.objectives.predictive.decoder import full_grid
from auricle.objectives.predictive.teacher import MovingAverage, TeacherConfig
from auricle.objectives.predictive.terms import TokensWhere, chosen_tokens, difference
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss, Weight, shuffle_clips


@dataclass(frozen=True)
class TokenBootstrapConfig(TermConfig):
    """Settings of bootstrapped tokens; the objective needs a teacher, best with the same schedule as here.

    Attributes:
        hidden: width of the hidden layer of projector and predictor.
        size: width of the compared vectors.
        slow: schedule of the slow projector.
        across: rows are pairs of views of a clip (`JointViewsConfig`), each of which predicts the teacher's tokens of
            the other; False: each row predicts the teacher's tokens of the same clip's clean view.
        where: tokens that are compared (see `RegressionConfig`).
        weight: of the term.
        name: of its part in the log.
    """

    hidden: Count = 4096
    size: Count = 256
    slow: TeacherConfig = field(default_factory=lambda: TeacherConfig(0.9996, 1.0, curve="cosine"))
    across: bool = False
    where: TokensWhere = "predicted"
    weight: Weight = 1.0
    name: str = "bootstrap"

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Read the constant decay of earlier settings."""
        if "decay" not in data:
            return data
        decay = data["decay"]
        rest = {name: value for name, value in data.items() if name != "decay"}
        return {**rest, "slow": TeacherConfig(decay, decay).to_json()}


class TokenMlp(nn.Module):
    """Linear, BatchNorm, ReLU, Linear on tokens `(P, width)`, without biases.

    Statistics are those of all ranks' tokens, of both views where rows are pairs of views.
    """

    def __init__(self, width: int, hidden: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, size, bias=False)
        draw_weights(self, generator, "uniform")

    def forward(self, x: Tensor) -> Tensor:
        """Map `(P, width)` to `(P, size)`."""
        y = normalise(self.norm, FeatureMap(self.fc1(x).T[None])).x[0].T
        return self.fc2(torch.relu(y))


class TokenBootstrap(Term):
    """2 - 2 cos of the prediction of each compared token and the slow projection of the teacher's token there."""

    def __init__(self, config: TokenBootstrapConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.weight = config, config.weight
        self.projector = TokenMlp(width, config.hidden, config.size, generator)
        self.predictor = TokenMlp(config.size, config.hidden, config.size, generator)
        if width != encoder.width:
            raise ConfigError(
                f"the decoder's width is {width}, expected the encoder's, {encoder.width}: its slow copy is projected "
                "by the same layers; choose NoDecoderConfig"
            )
        self.slow = MovingAverage(self.projector, training=True)
        self._progress = 0.0  # of the training, as in the batch of the step

    def after_step(self, encoder: Encoder, step: int) -> None:
        self.slow.follow(self.projector, self.config.slow.at(step, self._progress))

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        if masked_batch.teach is None:
            raise ConfigError("a teacher's tokens are predicted and there is no teacher; set objective.teacher")
        config, chosen = self.config, chosen_tokens(self.config.where, masked_batch)
        self._progress = masked_batch.progress
        taught = masked_batch.teach("all", ()).x
        if config.across:
            clip = masked_batch.clean.clip
            if len(clip) % 2 or bool((clip[0::2] != clip[1::2]).any()):
                raise ConfigError(
                    "across is set and the rows of the batch are not pairs of views of one clip; use JointViewsConfig "
                    "as the objective, or set across to False"
                )
            taught = taught.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
        taught = masked_batch.per_row(shuffle_clips(taught) if shuffled else taught)
        with torch.autocast(decoded.x.device.type, enabled=False):
            dtype = self.projector.fc1.weight.dtype
            guess = self.predictor(self.projector(full_grid(decoded).x[chosen].to(dtype)))
            with torch.no_grad():
                true = self.slow.copy(taught[chosen].to(dtype))
            values = difference("cosine", "mean", guess, true)
            each = values.new_zeros(chosen.shape).masked_scatter(chosen, values)
            value = mean_where(each, chosen)

        def laid_out(x: Tensor) -> Tensor:
            x = nn.functional.normalize(x.detach(), dim=-1)
            return x.new_zeros(*chosen.shape, x.shape[-1]).masked_scatter(chosen.unsqueeze(-1), x)

        def loss(one: Tensor, two: Tensor) -> Tensor:
            return difference("cosine", "mean", one, two)

        watch = regression_watch(loss, laid_out(guess), laid_out(true), chosen, masked_batch.clones)
        return TermLoss.of(config.name, value, watch)
