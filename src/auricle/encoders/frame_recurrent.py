"""Recurrent layers on log-mel frames: the encoder of APC and, with quantisers between the layers, of VQ-APC.

Sources: APC, arXiv 1904.03240 (section 2.1) and arXiv 1910.12607; VQ-APC, arXiv 2005.08392 (section 2.2). The published
models end in a 1x1 convolution back to the mel bins; it predicts frames and belongs to the objective here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import nearest
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens
from auricle.encoders.parts.causal_layers import Cell, RecurrentLayer, State
from auricle.encoders.parts.gumbel_quantiser import GumbelLayerConfig, GumbelQuantiser, Quantised, check_noise
from auricle.errors import ConfigError

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 256, "depth": 3},
    "small": {"width": 384, "depth": 3},
    "base": {"width": 512, "depth": 3},
}


@dataclass(frozen=True)
class FrameRecurrentConfig(EncoderConfig):
    """Settings of recurrent layers on frames; the defaults are APC's (GRU, 4.064 M, 4.105 M with its output layer).

    Attributes:
        width: D.
        depth: number of recurrent layers.
        cell: `gru`, or `lstm` as in the first paper.
        residual: each layer after the first adds its input.
        dropout: on the output of every layer, in training.
        prenet: feed-forward layers of width D with ReLU before the recurrence (0 in the published setting).
        quantised_after: layers (1 ... depth) whose output is quantised before it goes on: VQ-APC has (3,).
        quantiser: settings of those quantisers; 512 entries at temperature 0.5 as VQ-APC (its own README: 128 entries).
        mels: mel bins of the input.
        frame_rate: frames per second of the front end, and of the tokens.
    """

    width: int = 512
    depth: int = 3
    cell: Cell = "gru"
    residual: bool = True
    dropout: float = 0.1
    prenet: int = 0
    quantised_after: tuple[int, ...] = ()
    quantiser: GumbelLayerConfig = field(default_factory=GumbelLayerConfig)
    mels: int = 80
    frame_rate: float = 100.0

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            ConfigError: naming the setting and what it must be.
        """
        if min(self.width, self.depth, self.mels) < 1 or self.prenet < 0:
            raise ConfigError(
                f"found width {self.width}, depth {self.depth}, mels {self.mels}, prenet {self.prenet}; expected at "
                "least 1 each (prenet: 0)"
            )
        if self.cell not in ("gru", "lstm"):
            raise ConfigError(f"unknown cell {self.cell!r}{nearest(str(self.cell), ('gru', 'lstm'))}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout {self.dropout} must lie in [0, 1)")
        wrong = [layer for layer in self.quantised_after if not 1 <= layer <= self.depth]
        if wrong or len(set(self.quantised_after)) < len(self.quantised_after):
            raise ConfigError(f"found quantised_after {self.quantised_after}, expected layers 1 to {self.depth}, once")
        if self.quantised_after and self.quantiser.width not in (0, self.width):
            raise ConfigError(
                f"the quantiser's width {self.quantiser.width} must be 0 or the layers' width {self.width}: what "
                "follows reads its codes in the place of the layer's output"
            )

    @classmethod
    def size(cls, name: str, **changes: Any) -> FrameRecurrentConfig:
        """Return the settings of a named size (`tiny`, `small`, `base`: the published), with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in SIZES:
            raise ConfigError(f"unknown size {name!r}{nearest(name, SIZES)}")
        return cls(**{**SIZES[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> FrameRecurrent:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return FrameRecurrent(self, generator)


class FrameRecurrent(Encoder):
    """One token per frame, read by recurrent layers from left to right.

    A token depends on frames up to its own, so padding after a clip changes none of its tokens, and a clip can be read
    in pieces (`stream`). Before context, tokens are the frames themselves (width `mels`; no MASK ability then, since a
    mask vector has the width D), or the prenet's output.

    With a quantiser after the last layer, `Tokens.x` holds its codes, as the output layer of VQ-APC reads them; the
    hidden states that the paper takes as features are `Layer.block` of layer `depth` (blocks are kept before
    quantising).
    """

    def __init__(self, config: FrameRecurrentConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth = config.width, config.depth
        self.bands, self.input_rate = config.mels, config.frame_rate
        same = {Ability.MASK} if config.prenet else set()
        self.abilities = frozenset({Ability.CAUSAL, Ability.STREAM, Ability.EXACT_PADDING} | same)  # type: ignore[misc]
        D = config.width
        first = D if config.prenet else config.mels
        self.prenet = nn.ModuleList(nn.Linear(config.mels if i == 0 else D, D) for i in range(config.prenet))
        self.layers = nn.ModuleList(
            RecurrentLayer(D if i else first, D, config.cell, config.residual and i > 0, config.dropout)
            for i in range(config.depth)
        )
        self.quantisers = nn.ModuleDict({str(layer): config.quantiser.build(D) for layer in config.quantised_after})
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights, uniform in +-1/sqrt(fan in) (D in the recurrent layers).

        Args:
            generator: CPU generator; None: one seeded with 0, so that equal settings build equal weights.
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for layer in self.prenet:
            for parameter in layer.parameters():
                bound = self.width**-0.5 if layer is not self.prenet[0] else self.config.mels**-0.5
                parameter.uniform_(-bound, bound, generator=generator)
        for module in self.modules():
            if isinstance(module, RecurrentLayer | GumbelQuantiser):
                module.initialise(generator)

    def grid(self, frames: int) -> Grid:
        """Return the token grid of an input of so many frames: one token each."""
        return Grid(frames, 1, self.config.frame_rate)

    def tokenize(self, features: Features) -> Tokens:
        """Return the frames `(B, T, mels)`, or the prenet's output `(B, T, D)`, as tokens.

        Raises:
            ConfigError: the features have another shape or rate than the settings.
        """
        self.check_input(features)
        x = features.x
        for layer in self.prenet:
            x = F.dropout(F.relu(layer(x)), self.config.dropout, self.training)
        valid = torch.arange(x.shape[1], device=x.device) < features.lengths.to(x.device).unsqueeze(1)
        return Tokens(x, self.grid(x.shape[1]), valid=None if bool(valid.all()) else valid)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        """Run the recurrent layers.

        Raises:
            ConfigError: a layer outside 0 ... depth is asked for.
        """
        return self.contextualize_quantised(tokens, layers)[0]

    def contextualize_quantised(
        self, tokens: Tokens, layers: Sequence[int] = (), noise: Sequence[Tensor] | None = None
    ) -> tuple[Tokens, tuple[Quantised, ...]]:
        """Run the recurrent layers, and return what each quantiser chose, in the layers' order.

        Args:
            tokens: from `tokenize`.
            layers: those wanted in `Tokens.layers`.
            noise: Gumbel noise `(B, N, G, V)` for each quantiser in training; None: drawn from torch's generator.

        Raises:
            ConfigError: a layer outside 0 ... depth is asked for, or there is noise for more or fewer quantisers.
        """
        check_noise(noise, len(self.quantisers))
        out, _, quantised = self._run(tokens, layers, None, noise)
        return out, quantised

    def _run(
        self, tokens: Tokens, layers: Sequence[int], states: Sequence[State] | None, noise: Sequence[Tensor] | None
    ) -> tuple[Tokens, tuple[State, ...], tuple[Quantised, ...]]:
        self.check_layers(layers)
        x = tokens.x
        after: list[State] = []
        quantised: list[Quantised] = []
        seen = {0: Layer(x, tokens.grid)}
        for number, layer in enumerate(self.layers, 1):
            x, state = layer(x, None if states is None else states[number - 1])
            after.append(state)
            if number in layers:
                seen[number] = Layer(x, tokens.grid)
            if str(number) in self.quantisers:
                drawn = None if noise is None else noise[len(quantised)]
                quantised.append(self.quantisers[str(number)](x, tokens.valid, drawn))
                x = quantised[-1].x
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=x, layers=hidden), tuple(after), tuple(quantised)

    @torch.no_grad()
    def codes(self, tokens: Tokens) -> Tensor:
        """Return `(B, N, G)` int64: the codes of all quantisers side by side, for tokens from `tokenize`.

        In evaluation mode they are the entries with the largest logits; in training they are sampled.

        Raises:
            ConfigError: the encoder has no quantiser.
        """
        if not self.quantisers:
            raise ConfigError("found no quantiser in this encoder; set quantised_after, for example to (3,)")
        return torch.cat([q.codes for q in self.contextualize_quantised(tokens)[1]], -1)

    def stream(self, features: Features, state: Sequence[State] | None = None) -> tuple[Tokens, tuple[State, ...]]:
        """Encode the next piece of every clip: pieces with the state carried equal the whole clip.

        Args:
            features: the next frames `(B, T', mels)`, none of them padding.
            state: what the piece before returned; None: the clips begin here.

        Raises:
            ConfigError: a piece holds padding.
        """
        if bool((features.lengths < features.x.shape[1]).any()):
            raise ConfigError("found padded frames in a piece of a stream, expected clips of one length; cut them")
        tokens, after, _ = self._run(self.tokenize(features), (), state, None)
        return tokens, after

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the mean of the valid tokens, `(B, D)`. APC defines no clip vector; this is the usual one."""
        return tokens.mean()
