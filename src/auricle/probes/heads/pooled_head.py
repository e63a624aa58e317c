"""Bases of heads that read the token map: scaling of tokens, pooling, norm and classifier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Share
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead, classify, linear_layer
from auricle.probes.heads.token_moments import training_moments
from auricle.tokens.token_set import TokenBatch, TokenShape

# Added to the variance in the probing code of AIM, MAE and efficient probing.
EPS = 1e-6


@dataclass(frozen=True)
class TokenConfig(ProbeConfig):
    """Settings that all heads over single tokens share.

    Attributes:
        norm: scaling of the tokens. `train`: each dimension by mean and deviation over all tokens of the training
            clips; `batch`: AIM's batch norm without affine (eps 1e-6), the same with noise; `none`: raw, as in most
            publications. Encoders' tokens differ in scale by orders
            of magnitude, and the search range of learning rates is fixed, so the default is `train`.
        momentum: of the running statistics of `batch`, as in torch.
        tokens: `patch`: the token map; `all`: class tokens in front of it, as efficient probing advises for encoders
            whose objective is defined on the class token.
    """

    norm: Literal["train", "batch", "none"] = "train"
    momentum: Share = 0.1
    tokens: Literal["patch", "all"] = "patch"


@dataclass(frozen=True)
class PooledConfig(TokenConfig):
    """Settings that all poolings to one vector share.

    Attributes:
        pooled_norm: between pooling and classifier: `batch` is the batch norm without affine (eps 1e-6) of MAE's
            linear probe, which efficient probing uses after every pooling; `none`: no norm.
    """

    pooled_norm: Literal["batch", "none"] = "batch"


class TokenHead(ProbeHead):
    """Base of heads over tokens, scaled by statistics that are the same for every setting."""

    token_mean: Tensor
    token_var: Tensor

    def __init__(self, config: TokenConfig, shape: TokenShape, settings: int) -> None:
        super().__init__()
        self.config = config
        self.first = shape.cls if config.tokens == "all" else 0
        if config.tokens == "all" and shape.cls == 0:
            raise ConfigError("tokens 'all' needs a class token, and this encoder has none; use 'patch'")
        if config.norm != "none":
            self.register_buffer("token_mean", torch.zeros(settings, shape.width))
            self.register_buffer("token_var", torch.ones(settings, shape.width))

    def read(self, batch: TokenBatch) -> Inputs:
        x, valid = batch.x, batch.valid
        if self.first:
            if batch.cls is None:
                raise ConfigError("tokens 'all' needs class tokens, and these tokens come without; use 'patch'")
            x = torch.cat([batch.cls, x], 1)
            valid = F.pad(valid, (self.first, 0), value=True)
        return Inputs(x, None if bool(valid.all()) else valid)

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        if self.config.norm != "train":
            return
        mean, std = training_moments(inputs)
        self.token_mean.copy_(mean.to(self.token_mean).expand_as(self.token_mean))
        self.token_var.copy_(std.square().to(self.token_var).expand_as(self.token_var))

    def statistics(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return shift (to subtract) and scale of the tokens, each `(D,)`.

        In training mode `batch` measures these tokens `x (B, N, D)` and moves its running statistics.
        """
        if self.config.norm == "none":
            return x.new_zeros(x.shape[-1]), x.new_ones(x.shape[-1])
        if self.config.norm == "train":
            return self.token_mean[0], self.token_var[0].rsqrt()
        if not self.training:
            return self.token_mean[0], (self.token_var[0] + EPS).rsqrt()
        tokens = x.flatten(0, 1) if valid is None else x[valid]
        with torch.no_grad():
            # Not var_mean: over the outer axis it is several times slower, and this is the costliest line of a step.
            mean = tokens.mean(0)
            var = (tokens - mean).square_().mean(0)
            count = tokens.shape[0]
            self.token_mean.lerp_(mean.expand_as(self.token_mean), self.config.momentum)
            unbiased = var * (count / max(count - 1, 1))
            self.token_var.lerp_(unbiased.expand_as(self.token_var), self.config.momentum)
        return mean, (var + EPS).rsqrt()

    def standardised(self, inputs: Inputs) -> Tensor:
        """Return the scaled tokens `(B, N, D)`, zeros at padded places."""
        x = hide(inputs)
        if self.config.norm == "none":
            return x
        mean, scale = self.statistics(x, inputs.valid)
        return hide(Inputs((x - mean).mul_(scale), inputs.valid))


class PooledHead(TokenHead):
    """Base of heads that pool tokens to one vector a clip and setting, and classify that vector."""

    pooled_mean: Tensor
    pooled_var: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, config: PooledConfig, shape: TokenShape, settings: int) -> None:
        super().__init__(config, shape, settings)
        self._momentum = config.momentum
        self._pooled_norm = config.pooled_norm

    def _classifier(self, width: int, classes: int, settings: int, generator: torch.Generator) -> None:
        """Register the linear layer, after the pooling's own parameters, so that these start as published."""
        self.weight, self.bias = linear_layer(classes, width, settings, generator)
        if self._pooled_norm == "batch":
            self.register_buffer("pooled_mean", torch.zeros(settings, width))
            self.register_buffer("pooled_var", torch.ones(settings, width))

    @abstractmethod
    def pool(self, inputs: Inputs) -> Tensor:
        """Return the pooled vectors `(S, B, D')`. In training mode, running statistics are updated."""

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        return classify(self._normalised(self.pool(inputs)), self.weight, self.bias)

    def _normalised(self, pooled: Tensor) -> Tensor:
        if self._pooled_norm == "none":
            return pooled
        S, B, D = pooled.shape
        # One clip has no variance: it is scaled as in evaluation.
        measured = self.training and B > 1
        flat = F.batch_norm(
            pooled.transpose(0, 1).reshape(B, S * D),
            self.pooled_mean.view(-1),
            self.pooled_var.view(-1),
            training=measured,
            momentum=self._momentum,
            eps=EPS,
        )
        return flat.view(B, S, D).transpose(0, 1)


class AttentiveHead(PooledHead):
    """Base of poolings that weigh tokens."""

    @abstractmethod
    def attention(self, inputs: Inputs) -> Tensor:
        """Return the weight of each token of the map, `(S, B, N)`, averaged over heads and queries.

        A clip's weights sum to one, less what goes to class tokens where these are read; padded tokens weigh zero.
        """


def hide(inputs: Inputs) -> Tensor:
    """Return the tokens with zeros at padded places, where values are arbitrary, even NaN."""
    return inputs.x if inputs.valid is None else inputs.x.masked_fill(~inputs.valid.unsqueeze(-1), 0)


def weigh(scores: Tensor, valid: Tensor | None) -> Tensor:
    """Softmax of `scores (B, Q, N)` over the valid tokens `(B, N)`."""
    if valid is not None:
        scores = scores.masked_fill(~valid.unsqueeze(1), float("-inf"))
    return scores.softmax(-1)


def head_count(width: int, heads: int | None) -> int:
    """Return the attention heads for a width; None: one for each 64 dimensions, as 12 heads at 768 and 16 at 1024.

    Raises:
        ConfigError: the width is no multiple of the heads.
    """
    found = max(1, width // 64) if heads is None else heads
    while heads is None and width % found:
        found -= 1
    if found < 1 or width % found:
        raise ConfigError(f"tokens of width {width} can't be split into {found} heads; choose a divisor")
    return found
