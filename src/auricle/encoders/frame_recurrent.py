"""Recurrent layers on log-mel frames: the encoder of APC and, with quantisers between the layers, of VQ-APC.

Sources: APC, arXiv 1904.03240 (section 2.1) and arXiv 1910.12607; VQ-APC, arXiv 2005.08392 (section 2.2). The published
models end in a 1x1 convolution to the mel bins, which is part of the objective here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import Count, Natural, Positive, ShareBelowOne
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens, valid_positions
from auricle.encoders.parts.causal_layers import Cell, RecurrentLayer, State
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig, GumbelQuantiser, Quantised, check_noise
from auricle.errors import ConfigError


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
        quantised_after: layers (1 ... depth) whose output is quantised: VQ-APC has (3,).
        quantiser: settings of those quantisers; 512 entries at temperature 0.5 as VQ-APC (its own README: 128 entries).
        mels: mel bins of the input.
        frame_rate: frames per second of the front end, and of the tokens.
        features: where the last layer is quantised, tokens are its `hidden` states, as in VQ-APC's paper, or `codes`.
    """

    width: Count = 512
    depth: Count = 3
    cell: Cell = "gru"
    residual: bool = True
    dropout: ShareBelowOne = 0.1
    prenet: Natural = 0
    quantised_after: tuple[int, ...] = ()
    quantiser: GumbelLayerConfig = field(default_factory=GumbelLayerConfig)
    mels: Count = 80
    frame_rate: Positive = 100.0
    features: Literal["hidden", "codes"] = "hidden"

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 256, "depth": 3},
        "small": {"width": 384, "depth": 3},
        "base": {"width": 512, "depth": 3},
    }

    def __post_init__(self) -> None:
        wrong = [layer for layer in self.quantised_after if not 1 <= layer <= self.depth]
        if wrong or len(set(self.quantised_after)) < len(self.quantised_after):
            raise ConfigError(f"found quantised_after {self.quantised_after}, expected layers 1 to {self.depth}, once")
        if self.quantised_after and self.quantiser.width not in (0, self.width):
            raise ConfigError(
                f"the quantiser's width {self.quantiser.width} must be 0 or the layers' width {self.width}: the next "
                "layer reads its codes instead of the layer's output"
            )
        if self.features == "codes" and self.depth not in self.quantised_after:
            raise ConfigError(
                f"encoder.features is codes, and the last layer has no quantiser; expected layer {self.depth} in "
                "encoder.quantised_after. Add it, or set encoder.features to hidden"
            )

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Keep the codes that were the features of every encoder whose last layer is quantised."""
        coded = data.get("depth", cls.depth) in data.get("quantised_after", ())
        return {"features": "codes", **data} if coded else data


class FrameRecurrent(Encoder):
    """One token per frame, read by recurrent layers from left to right.

    A token depends on frames up to its own: padding never changes a valid token, and a clip can be encoded in pieces
    (`stream`). Before context, tokens are the frames themselves (width `mels`; no MASK ability then, since a mask
    vector has the width D), or the prenet's output. APC defines no clip vector; the mean of the valid tokens is used.

    With a quantiser after the last layer, `contextualize` returns the layer's output before it, or its codes where
    `features` says so. The codes that VQ-APC's output layer reads are those of `contextualize_quantised`.
    """

    def __init__(self, config: FrameRecurrentConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth = config.width, config.depth
        self.bands, self.input_rate = config.mels, config.frame_rate
        same = {Ability.MASK} if config.prenet else set()
        self.abilities = frozenset({Ability.CAUSAL, Ability.STREAM, Ability.EXACT_PADDING} | same)
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
        """Draw fresh weights, uniform in +-1/sqrt(fan in) (D in the recurrent layers)."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for layer in self.prenet:
            for parameter in layer.parameters():
                bound = self.width**-0.5 if layer is not self.prenet[0] else self.config.mels**-0.5
                parameter.uniform_(-bound, bound, generator=generator)
        for module in self.modules():
            if isinstance(module, RecurrentLayer | GumbelQuantiser):
                module.initialise(generator)

    def grid(self, frames: int) -> Grid:
        return Grid(frames, 1, self.config.frame_rate)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        x = features.x
        for layer in self.prenet:
            x = F.dropout(F.relu(layer(x)), self.config.dropout, self.training)
        return Tokens(x, self.grid(x.shape[1]), valid=valid_positions(features.lengths.to(x.device), x.shape[1]))

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        return self._features(tokens, layers, None)[0]

    def contextualize_quantised(
        self, tokens: Tokens, layers: Sequence[int] = (), noise: Sequence[Tensor] | None = None
    ) -> tuple[Tokens, tuple[Quantised, ...]]:
        """Run the recurrent layers, and return the output of each quantiser, in the layers' order.

        `Tokens.x` holds the codes where the last layer is quantised.

        Args:
            tokens: from `tokenize`.
            layers: requested in `Tokens.layers`.
            noise: Gumbel noise `(B, N, G, V)` for each quantiser in training; None: drawn from torch's generator.

        Raises:
            ConfigError: a layer outside 0 ... depth is requested, or there is noise for more or fewer quantisers.
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

    def _features(
        self, tokens: Tokens, layers: Sequence[int], states: Sequence[State] | None
    ) -> tuple[Tokens, tuple[State, ...]]:
        if self.config.features == "codes":
            return self._run(tokens, layers, states, None)[:2]
        out, after, _ = self._run(tokens, (*layers, self.depth), states, None)
        *asked, last = out.layers or ()
        return replace(out, x=last.block, layers=tuple(asked) or None), after

    @torch.no_grad()
    def codes(self, tokens: Tokens) -> Tensor:
        """Return `(B, N, G)` int64: the codes of all quantisers side by side, for tokens from `tokenize`.

        Sampled in training; in evaluation the entries with the largest logits.

        Raises:
            ConfigError: the encoder has no quantiser.
        """
        if not self.quantisers:
            raise ConfigError("found no quantiser in this encoder; set quantised_after, for example to (3,)")
        return torch.cat([q.codes for q in self.contextualize_quantised(tokens)[1]], -1)

    def stream(self, features: Features, state: Sequence[State] | None = None) -> tuple[Tokens, tuple[State, ...]]:
        """Encode the next piece of every clip; all pieces together equal the whole clip.

        Args:
            features: the next frames `(B, T', mels)`, without padding.
            state: returned by the previous piece; None: this is the first one.

        Raises:
            ConfigError: a piece has padding.
        """
        if bool((features.lengths < features.x.shape[1]).any()):
            raise ConfigError("found padded frames in a piece of a stream; expected pieces of one length")
        return self._features(self.tokenize(features), (), state)
