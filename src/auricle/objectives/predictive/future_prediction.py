"""Autoregressive prediction: from the past, the frame some steps ahead (APC and VQ-APC).

Sources: APC, arXiv 1904.03240, section 2.1, and arXiv 1910.12607; VQ-APC, arXiv 2005.08392, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from auricle.config import Count, NonNegative
from auricle.encoders.contract import Ability, Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.baselines import regression_watch
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, View
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.distributed import masked_mean, mean_where, widest
from auricle.objectives.masks.token_mask import MaskedPositions
from auricle.objectives.predictive.heads import HeadConfig, LinearHeadConfig
from auricle.objectives.predictive.terms import Dims, Measure, difference
from auricle.objectives.targets.inner_codes import contextualize_with_codes, inner_code_losses, inner_code_watch
from auricle.objectives.targets.inputs import FrameTargetConfig
from auricle.objectives.targets.learned_codes import TemperatureConfig
from auricle.objectives.targets.target import MaskedBatch, TargetConfig, shuffle_clips


@dataclass(frozen=True)
class FuturePredictionConfig(ObjectiveConfig):
    """Settings of autoregressive prediction.

    Attributes:
        ahead: n, time steps of the tokens from the last one seen to the predicted one.
        target: of that time step; one continuous value a token, of the input itself.
        head: the map to the target; one linear layer in APC (a convolution of one step).
        measure: see `terms.difference`; APC: `l1`.
        dims: see `terms.difference`.
        temperature: of Gumbel quantisers inside the encoder, by the step; None: that of their settings (VQ-APC).
        diversity: weight of a pull of those quantisers towards using all entries (VQ-APC has none).
    """

    ahead: Count = 3
    target: TargetConfig = field(default_factory=FrameTargetConfig)
    head: HeadConfig = field(default_factory=LinearHeadConfig)
    measure: Measure = "l1"
    dims: Dims = "mean"
    temperature: TemperatureConfig | None = None
    diversity: NonNegative = 0.0


class FuturePrediction(Objective):
    """Regression of the frame `ahead` time steps later, on every pair of steps that lies inside the clip.

    On a grid with several bands each token predicts the one of its own band. The loss is computed in float32 (or
    wider). Monitored beside the baselines of every regression: `future/copy_last`, the loss of repeating the present
    frame, and `codes/perplexity` of quantisers inside the encoder.
    """

    needs = frozenset({Ability.CAUSAL})

    def __init__(self, config: FuturePredictionConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.check(encoder)
        self.target = config.target.build(encoder, generator)
        if self.target.codebooks or self.target.clip or self.target.lifecycle == "slow":
            raise ConfigError(
                f"{type(config.target).__name__} gives codes, one value a clip, or a teacher's output; a future frame "
                "is one continuous value a token of the clip itself: choose FrameTargetConfig"
            )
        self.head = config.head.build(encoder.width, self.target.size, generator)

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        config, view = self.config, views[0]
        tokens = encoder.tokenize(view.features)
        grid = tokens.grid
        if grid.time <= config.ahead:
            raise ConfigError(
                f"found {grid.time} time steps at {grid.rate:g} per second, and the target lies {config.ahead} ahead; "
                f"take windows of at least {(config.ahead + 2) / grid.rate:.2f} s (--window.seconds), or a "
                "smaller --objective.ahead"
            )
        out, quantised = contextualize_with_codes(
            encoder, tokens, generator, config.temperature, self.step, widest(grid.tokens, tokens.x.device)
        )
        frames: Tensor = self.target(self._masked_batch(encoder, view, tokens, out, generator))
        valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        valid = valid if tokens.valid is None else tokens.valid
        shift = config.ahead * grid.freq
        present, future, reached = frames[:, :-shift], frames[:, shift:], valid[:, shift:]
        if self.shuffled:
            future, reached = shuffle_clips(future), shuffle_clips(reached)
        chosen = valid[:, :-shift] & reached
        prediction = self.head(out.x[:, :-shift])
        with torch.autocast(prediction.device.type, enabled=False):
            prediction = prediction.to(future.dtype)
            total = value = mean_where(self._loss(prediction, future), chosen)
            parts = {"future": value.detach()}
            for name, (weight, more) in inner_code_losses(quantised, config.diversity).items():
                total, parts[name] = total + weight * more, more.detach()
        made = regression_watch(self._loss, prediction, future, chosen, 1)
        watch: dict[str, Callable[[], Tensor]] = {f"future/{name}": maker for name, maker in made.items()}
        watch["future/copy_last"] = lambda: masked_mean(self._loss(present, future), chosen)
        context = out.x.detach()
        watch["rank_tokens"] = lambda: effective_rank(context.flatten(0, 1)[:2048])
        return Loss(total, parts, LazyWatch(watch | inner_code_watch(quantised)))

    def _loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return difference(self.config.measure, self.config.dims, prediction, target)

    def _masked_batch(
        self, encoder: Encoder, view: View, tokens: Tokens, out: Tokens, generator: torch.Generator
    ) -> MaskedBatch:
        none = torch.zeros(tokens.x.shape[:2], dtype=torch.bool, device=tokens.x.device)
        return MaskedBatch(
            encoder, view, view, tokens, out, {}, MaskedPositions(none, none), 1, generator, self.progress, self.step
        )
