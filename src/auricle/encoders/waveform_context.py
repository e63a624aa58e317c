"""Base of the causal encoders over samples: a stem of convolutions, layers with a state, and streaming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Ability, Encoder, Grid, Layer, Stem, Tokens
from auricle.encoders.parts.causal_layers import CausalLayer, State
from auricle.encoders.parts.quantisers.gumbel import GumbelQuantiser, Quantised, check_noise
from auricle.encoders.parts.quantisers.kmeans import KMeansLayer
from auricle.encoders.parts.waveform_stem import WaveformStem, WaveformStemConfig
from auricle.errors import ConfigError


@dataclass(frozen=True)
class StreamedWave:
    """State of a stream between pieces.

    Attributes:
        rest: for each convolution of the stem, `(B, C, n)` inputs that later steps need.
        layers: the state of each layer after the stem; None until the first token.
    """

    rest: tuple[Tensor, ...]
    layers: tuple[State, ...] | None


class WaveformContext(Encoder):
    """Base: stem steps `(B, N, C)` are the tokens before context; causal layers of width D follow.

    `Tokens.stem` holds the stem's output, the features that CPC and wav2vec predict. Padding never changes a valid
    token, no token depends on later samples, and a clip can be encoded in pieces (`stream`), except with a norm over
    time (`group`, `group_first`, as wav2vec published it). Tokens can be replaced by a mask vector (MASK) where the
    stem is as wide as the layers. The papers define no clip vector; the mean of the valid tokens is used.

    Attributes:
        hop: samples from token to token.
        receptive_field: of one step of the stem, in samples; the first step that shares none of them is
            ceil(receptive_field / hop) ahead.
    """

    layers: nn.ModuleList
    quantiser: nn.ModuleList

    def __init__(self, stem: WaveformStemConfig, rate: float, width: int, depth: int, over_time: bool) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        self.bands, self.input_rate, self.least_frames = None, rate, stem.least
        self.hop, self.receptive_field = stem.hop, stem.receptive_field
        abilities = set() if over_time else {Ability.CAUSAL, Ability.STREAM, Ability.EXACT_PADDING}
        abilities |= {Ability.MASK} if stem.width == width else set()
        self.abilities = frozenset(abilities)
        self.stem = stem.build()
        self.quantiser = nn.ModuleList()

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights from `generator` (None: one seeded with 0)."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        self.stem.initialise(generator)
        for module in self.modules():
            if isinstance(module, CausalLayer | GumbelQuantiser | KMeansLayer):
                module.initialise(generator)

    def grid(self, frames: int) -> Grid:
        return Grid(self.stem.config.frames(frames), 1, self.input_rate / self.hop)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        z = self.stem(features.x)
        valid = self.stem.config.valid(features.lengths.to(z.device), z.shape[1])
        return Tokens(z, self.grid(features.x.shape[1]), valid=valid, stem=Stem(z, z))

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        return self.contextualize_quantised(tokens, layers)[0]

    def contextualize_quantised(
        self, tokens: Tokens, layers: Sequence[int] = (), noise: Sequence[Tensor] | None = None
    ) -> tuple[Tokens, tuple[Quantised, ...]]:
        """Run the layers after the stem, and return the output of the quantiser before them: `()` without one.

        Args:
            tokens: from `tokenize`.
            layers: requested in `Tokens.layers`; layer 0 is the stem's output before quantising.
            noise: Gumbel noise `(B, N, G, V)`, one tensor, in training; None: drawn from torch's generator.

        Raises:
            ConfigError: a layer outside 0 ... depth is requested, or there is noise for more or fewer quantisers.
        """
        check_noise(noise, len(self.quantiser))
        out, _, quantised = self._run(tokens, layers, None, noise)
        return out, quantised

    def _run(
        self, tokens: Tokens, layers: Sequence[int], states: Sequence[State] | None, noise: Sequence[Tensor] | None
    ) -> tuple[Tokens, tuple[State, ...], tuple[Quantised, ...]]:
        self.check_layers(layers)
        x = tokens.x
        seen = {0: Layer(x, tokens.grid)}
        quantised = tuple(q(x, tokens.valid, None if noise is None else noise[0]) for q in self.quantiser)
        x = quantised[0].x if quantised else x
        after: list[State] = []
        for number, layer in enumerate(self.layers, 1):
            x, state = layer(x, None if states is None else states[number - 1])
            after.append(state)
            if number in layers:
                seen[number] = Layer(x, tokens.grid)
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=x, layers=hidden), tuple(after), quantised

    @torch.no_grad()
    def codes(self, tokens: Tokens) -> Tensor:
        """Return the codes `(B, N, G)` int64 of tokens from `tokenize`; sampled in training, else the most likely.

        Raises:
            ConfigError: the encoder has no quantiser.
        """
        if not len(self.quantiser):
            raise ConfigError("found no quantiser in this encoder; set `quantiser`")
        return self.contextualize_quantised(tokens)[1][0].codes

    def stream(self, features: Features, state: StreamedWave | None = None) -> tuple[Tokens | None, StreamedWave]:
        """Encode the next piece of every clip; all pieces together equal the whole clip.

        Args:
            features: the next samples `(B, S')`, any number, without padding.
            state: returned by the previous piece; None: this is the first one.

        Returns:
            The tokens that this piece completes (None: none yet), and the state.

        Raises:
            ConfigError: a piece has padding, or a norm over time makes streaming impossible.
        """
        if Ability.STREAM not in self.abilities:
            raise ConfigError(f"{type(self).__name__} can't stream with a norm over time; set the norms to 'channel'")
        if bool((features.lengths < features.x.shape[1]).any()):
            raise ConfigError("found padded samples in a piece of a stream; expected pieces of one length")
        z, rest = _stream_stem(self.stem, features.x, None if state is None else state.rest)
        states = None if state is None else state.layers
        if z is None:
            return None, StreamedWave(rest, states)
        tokens = Tokens(z, Grid(z.shape[1], 1, self.input_rate / self.hop), stem=Stem(z, z))
        out, after, _ = self._run(tokens, (), states, None)
        return out, StreamedWave(rest, after)


def _stream_stem(
    stem: WaveformStem, wave: Tensor, rest: tuple[Tensor, ...] | None
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """Return the steps `(B, N, C)` that `wave (B, S')` completes (None: none), and the inputs that later ones need."""
    config, x, kept = stem.config, wave.unsqueeze(1), []
    for place, (conv, norm, (channels, kernel, stride)) in enumerate(
        zip(stem.convs, stem.norms, config.layers, strict=True)
    ):
        if rest is not None:
            x = torch.cat([rest[place].to(x.dtype), x], 2)
        elif config.padding == "left":
            x = F.pad(x, (kernel - stride, 0))
        steps = max(0, (x.shape[2] - kernel) // stride + 1)
        kept.append(x[:, :, steps * stride :])
        if steps:
            y = norm(conv(x[:, :, : (steps - 1) * stride + kernel]))
            x = F.gelu(y) if config.activation == "gelu" else F.relu(y)
        else:
            x = x.new_zeros(x.shape[0], channels, 0)
    if config.log_compression:
        x = torch.log1p(x.abs())
    return (x.transpose(1, 2) if x.shape[2] else None), tuple(kept)
