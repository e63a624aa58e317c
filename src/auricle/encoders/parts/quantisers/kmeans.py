"""Quantisation by the nearest entry of a learned codebook: online k-means.

Source: vq-wav2vec, arXiv 1910.05453, section 3.2 (equation 3 and the grouping of section 3.3); the straight-through
estimator and the commitment term are VQ-VAE's, arXiv 1711.00937, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Config, Count, NonNegative
from auricle.encoders.parts.quantisers.gumbel import Quantised, perplexity
from auricle.errors import ConfigError

_EPS = 1e-5
# Entries start near zero, where the direction alone decides which is nearest: many are used from the start.
_START = 0.01


@dataclass(frozen=True)
class KMeansLayerConfig(Config):
    """Settings of a k-means quantiser inside an encoder.

    Attributes:
        groups: G, parts of the features, each quantised separately.
        entries: V, codebook entries per group.
        shared: all groups use one codebook (vq-wav2vec).
        commitment: weight of the commitment term; 0.25 as published.
    """

    groups: Count = 2
    entries: Count = 320
    shared: bool = True
    commitment: NonNegative = 0.25

    def build(self, width: int, generator: torch.Generator | None = None) -> KMeansLayer:
        """Build the layer for inputs of that width, weights drawn from `generator` (None: one seeded with 0)."""
        return KMeansLayer(self, width, generator)


class KMeansLayer(nn.Module):
    """Replaces each group of features by its nearest entry; the gradient passes to the features unchanged.

    Features are first projected (within each group) and standardised over the channels of a group and step. Nothing is
    random; training and evaluation quantise alike. Computed in float32 (or wider) also under autocast: half precision
    would confuse near neighbours.

    Args:
        config: the settings.
        width: C of the input and of the codes.
        generator: draws the weights; None: one seeded with 0.

    Raises:
        ConfigError: the groups do not divide the width, or leave groups of one channel.
    """

    learns_codes: ClassVar[bool] = True

    def __init__(self, config: KMeansLayerConfig, width: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if width % config.groups or width < 2 * config.groups:
            raise ConfigError(
                f"found {config.groups} groups for {width} channels; the width must be a multiple of the groups, and "
                "at least twice their number"
            )
        self.config, self.width = config, width
        size = width // config.groups
        self.proj = nn.Parameter(torch.zeros(config.groups, size, size))
        self.norm_weight = nn.Parameter(torch.ones(width))
        self.norm_bias = nn.Parameter(torch.zeros(width))
        self.codebook = nn.Parameter(torch.zeros(1 if config.shared else config.groups, config.entries, size))
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: the projection uniform in +-1/sqrt(fan in), the entries close to zero."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        bound = self.proj.shape[1] ** -0.5
        self.proj.uniform_(-bound, bound, generator=generator)
        self.norm_weight.fill_(1.0)
        self.norm_bias.zero_()
        self.codebook.normal_(std=_START, generator=generator)

    def features(self, x: Tensor) -> Tensor:
        """Return the projected, standardised features `(B, N, G, C / G)` of `x (B, N, C)`."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.proj.dtype).unflatten(-1, (self.config.groups, -1))
            y = torch.einsum("bngc,gcd->bngd", x, self.proj)
            y = F.layer_norm(y, y.shape[-1:], eps=_EPS)
            shape = (self.config.groups, -1)
            return y * self.norm_weight.unflatten(0, shape) + self.norm_bias.unflatten(0, shape)

    def forward(self, x: Tensor, valid: Tensor | None = None, noise: Tensor | None = None) -> Quantised:
        """Quantise `x (B, N, C)`.

        Args:
            x: the input.
            valid: `(B, N)` bool, tokens that count in the means; None: all.
            noise: not used.

        Returns:
            The codes; `probabilities` are their frequencies, as there is no softmax.
        """
        G, V = self.config.groups, self.config.entries
        z = self.features(x)
        with torch.autocast(x.device.type, enabled=False):
            book = self.codebook.expand(G, -1, -1)
            with torch.no_grad():
                # |z|^2 is the same for all entries.
                distance = book.square().sum(-1) - 2 * torch.einsum("bngd,gvd->bngv", z, book)
                codes = distance.argmin(-1)
            group = torch.arange(G, device=codes.device)
            chosen = book[group, codes]
            weight = z.new_ones(z.shape[:2]) if valid is None else valid.to(z.dtype)
            count = weight.sum()
            share = weight / count.clamp(min=1)
            follow = (chosen - z.detach()).square().mean((2, 3))
            commit = (z - chosen.detach()).square().mean((2, 3))
            penalty = ((follow + self.config.commitment * commit) * share).sum()
            used = share.new_zeros(G * V)
            used.scatter_add_(0, (codes + group * V).flatten(), share.unsqueeze(-1).expand_as(codes).flatten())
            used = used.view(G, V)
            # z - z is exactly zero: equal codes give equal vectors.
            y = (chosen.detach() + (z - z.detach())).flatten(-2)
            return Quantised(y, codes, used, perplexity(used), perplexity(used), count, penalty)
