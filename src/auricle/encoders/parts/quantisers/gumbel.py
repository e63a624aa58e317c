"""Product quantisation by Gumbel-softmax: one entry per group of a learned codebook, with a gradient.

Sources: vq-wav2vec, arXiv 1910.05453, section 3.1; wav2vec 2.0, arXiv 2006.11477, section 2 (equation 1); as a layer
between recurrent ones: VQ-APC, arXiv 2005.08392, section 2.2. Gumbel-softmax: arXiv 1611.01144.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Config, Count, Natural, Positive, nearest
from auricle.encoders.contract import Tokens
from auricle.errors import ConfigError

Start = Literal["normal", "linear"]


@dataclass(frozen=True)
class Quantised:
    """Output of a quantiser. Letters: G groups, V entries per group, D width of all codes together.

    Attributes:
        x: `(B, N, D)` the chosen entries, groups side by side; in training with a gradient to the input.
        codes: `(B, N, G)` int64, the chosen entries.
        probabilities: `(G, V)` the softmax of the logits without noise, averaged over valid tokens; with gradient.
        perplexity: `(G,)` exp of the entropy (nats) of `probabilities`; V where all entries are equally likely.
        code_perplexity: `(G,)` the same of the chosen codes' frequencies; without gradient.
        count: scalar, number of valid tokens; the weight of this rank's `probabilities`.
        penalty: scalar with gradient, the quantiser's own loss, a mean over the valid tokens (k-means: codebook and
            commitment terms); None: there is none.
    """

    x: Tensor
    codes: Tensor
    probabilities: Tensor
    perplexity: Tensor
    code_perplexity: Tensor
    count: Tensor
    penalty: Tensor | None = None


@runtime_checkable
class QuantisingEncoder(Protocol):
    """An encoder with quantisers inside: the methods that objectives call beyond those of `Encoder`."""

    def contextualize_quantised(
        self, tokens: Tokens, layers: Sequence[int] = (), noise: Sequence[Tensor] | None = None
    ) -> tuple[Tokens, tuple[Quantised, ...]]:
        """Contextualize, and return the output of each quantiser."""
        ...

    def codes(self, tokens: Tokens) -> Tensor:
        """Return `(B, N, G)` int64, the codes of all quantisers side by side, for tokens from `tokenize`."""
        ...


def gumbel_noise(uniform: Tensor) -> Tensor:
    """Turn uniform numbers in [0, 1) into standard Gumbel noise of the same shape: -log(-log u)."""
    # A draw of exactly 0 would become -inf.
    tiny = torch.finfo(uniform.dtype).tiny
    return -(-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()


def check_noise(noise: Sequence[Tensor] | None, quantisers: int) -> None:
    """Refuse noise that is not one tensor per quantiser.

    Raises:
        ConfigError: naming both numbers.
    """
    if noise is not None and len(noise) != quantisers:
        raise ConfigError(
            f"found noise for {len(noise)} quantisers, the encoder has {quantisers}; expected one tensor each"
        )


def perplexity(probabilities: Tensor) -> Tensor:
    """Return exp of the entropy (nats) along the last axis; `(..., V)` -> `(...)`."""
    return torch.exp(-torch.special.xlogy(probabilities, probabilities).sum(-1))


class GumbelQuantiser(nn.Module):
    """Chooses, for each group, the entry with the largest logit (plus noise), and returns the entries side by side.

    Forward values are exact entries (hard one-hot); in training the gradient is that of the softmax of
    (logits + noise) / temperature (straight through). Logits, noise and sums are in float32 (or wider) also under
    autocast: half precision would cause ties.

    Args:
        width_in: C, width of the input.
        groups: G.
        entries: V, codebook entries per group.
        width_out: D, a multiple of the groups; an entry has D / G dimensions.
        shared: all groups use one codebook of V entries.
        depth: layers from input to logits; the hidden ones have twice the input's width and GELU.
        start: `normal`: logits' weights from N(0, 1), entries uniform in [0, 1), as wav2vec 2.0 (layers before the
            last as `linear`); `linear`: all uniform in +-1/sqrt(fan in), V for the entries, as VQ-APC.
        generator: draws the weights; None: one seeded with 0.

    Raises:
        ConfigError: a size below 1, an unknown `start`, or a width that the groups do not divide.
    """

    learns_codes: ClassVar[bool] = True

    def __init__(
        self,
        width_in: int,
        groups: int,
        entries: int,
        width_out: int,
        shared: bool = False,
        depth: int = 1,
        start: Start = "normal",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(width_in, groups, entries, width_out, depth) < 1:
            raise ConfigError(
                f"found width {width_in}, groups {groups}, entries {entries}, output width {width_out}, depth {depth}; "
                "each must be at least 1"
            )
        if width_out % groups:
            raise ConfigError(f"the codes' width {width_out} must be a multiple of the groups ({groups})")
        if start not in ("normal", "linear"):
            raise ConfigError(f"unknown start {start!r}{nearest(start, ('normal', 'linear'))}")
        self.groups, self.entries, self.width_out, self.start = groups, entries, width_out, start
        widths = [width_in, *[2 * width_in] * (depth - 1)]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.logits = nn.Linear(widths[-1], groups * entries)
        self.codebook = nn.Parameter(torch.zeros(1 if shared else groups, entries, width_out // groups))
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights as `start` says."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for layer in (*self.hidden, self.logits):
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
        if self.start == "normal":
            self.logits.weight.normal_(generator=generator)
            self.logits.bias.zero_()
            self.codebook.uniform_(generator=generator)
        else:
            bound = self.entries**-0.5
            self.codebook.uniform_(-bound, bound, generator=generator)

    def score(self, x: Tensor) -> Tensor:
        """Return the logits `(B, N, G, V)` of `x (B, N, C)`, in the parameters' precision."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.logits.weight.dtype)
            for layer in self.hidden:
                x = F.gelu(layer(x))
            return self.logits(x).unflatten(-1, (self.groups, self.entries))

    def look_up(self, codes: Tensor) -> Tensor:
        """Return the entries `(B, N, D)` of `codes (B, N, G)`, groups side by side."""
        group = torch.arange(self.groups, device=codes.device) % self.codebook.shape[0]
        return self.codebook[group, codes].flatten(-2)

    def forward(
        self, x: Tensor, temperature: float, noise: Tensor | None = None, valid: Tensor | None = None
    ) -> Quantised:
        """Quantise `x (B, N, C)`.

        Args:
            x: the input.
            temperature: of the softmax of the gradient; above 0. The chosen entry does not depend on it.
            noise: `(B, N, G, V)` Gumbel noise, see `gumbel_noise`; None: the largest logit wins.
            valid: `(B, N)` bool, tokens that count in the means; None: all.

        Raises:
            ConfigError: the temperature is not above 0, or the noise has another shape.
        """
        if not temperature > 0:
            raise ConfigError(f"found temperature {temperature}, expected one above 0")
        logits = self.score(x)
        if noise is not None and noise.shape != logits.shape:
            raise ConfigError(f"found noise of shape {tuple(noise.shape)}, expected {tuple(logits.shape)}")
        with torch.autocast(x.device.type, enabled=False):
            noisy = logits if noise is None else logits + noise
            codes = noisy.argmax(-1)
            if self.training:
                soft = torch.softmax(noisy / temperature, -1)
                hard = F.one_hot(codes, self.entries).to(soft.dtype)
                choice = hard - soft.detach() + soft
                book = self.codebook.expand(self.groups, -1, -1)
                y = torch.einsum("bngv,gvd->bngd", choice, book).flatten(-2)
            else:
                y = self.look_up(codes)
            return Quantised(y, codes, *self._usage(logits, codes, valid))

    def _usage(self, logits: Tensor, codes: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weight = logits.new_ones(logits.shape[:2]) if valid is None else valid.to(logits.dtype)
        count = weight.sum()
        share = weight / count.clamp(min=1)
        mean = torch.einsum("bn,bngv->gv", share, torch.softmax(logits, -1))
        # Codes of all groups in one row, so that one scatter counts them.
        flat = (codes + torch.arange(self.groups, device=codes.device) * self.entries).flatten()
        used = share.new_zeros(self.groups * self.entries)
        used.scatter_add_(0, flat, share.unsqueeze(-1).expand_as(codes).flatten())
        return mean, perplexity(mean), perplexity(used.view(self.groups, self.entries)), count


@dataclass(frozen=True)
class GumbelLayerConfig(Config):
    """Settings of a quantiser inside an encoder.

    Attributes:
        groups: G.
        entries: V, codebook entries per group.
        width: D of the codes; 0: the width of the input.
        shared: all groups use one codebook.
        depth: layers from input to logits.
        temperature: of the Gumbel-softmax; a schedule sets `GumbelLayer.temperature` during training.
        start: initialisation, see `GumbelQuantiser`.
    """

    groups: Count = 1
    entries: Count = 512
    width: Natural = 0
    shared: bool = False
    depth: Count = 1
    temperature: Positive = 0.5
    start: Start = "linear"

    def build(self, width: int, generator: torch.Generator | None = None) -> GumbelLayer:
        """Build the layer for inputs of that width, weights drawn from `generator` (None: one seeded with 0)."""
        return GumbelLayer(self, width, generator)


class GumbelLayer(nn.Module):
    """A quantiser inside an encoder.

    In training it samples, with the given noise or torch's global generator: a replay from a saved generator state
    makes the same choices. In evaluation the largest logit wins.

    Attributes:
        temperature: of the next forward; a schedule may set it.
        last_codes: `(B, N, G)` of the last forward, or None before.
        last_perplexity: `(G,)` of the codes of the last forward, without gradient, or None before.
    """

    def __init__(self, config: GumbelLayerConfig, width: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.temperature = config, config.temperature
        self.width = config.width or width
        self.quantiser = GumbelQuantiser(
            width, config.groups, config.entries, self.width, config.shared, config.depth, config.start, generator
        )
        self.last_codes: Tensor | None = None
        self.last_perplexity: Tensor | None = None

    def forward(self, x: Tensor, valid: Tensor | None = None, noise: Tensor | None = None) -> Quantised:
        """Quantise `x (B, N, C)`; see `GumbelQuantiser.forward`."""
        if self.training and noise is None:
            shape = (*x.shape[:2], self.config.groups, self.config.entries)
            noise = gumbel_noise(torch.rand(shape, device=x.device))
        out = self.quantiser(x, self.temperature, noise if self.training else None, valid)
        self.last_codes, self.last_perplexity = out.codes, out.code_perplexity
        return out
