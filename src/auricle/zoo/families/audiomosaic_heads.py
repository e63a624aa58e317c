"""The classifier and the three layer probes of AudioMosaic's evaluation.

Source: arXiv 2605.14231, section 4, and the released code. All average tokens with the class token and reuse the
encoder's `fc_norm`. The final output is listed after the block outputs and equals the last of them, so it counts twice,
as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid, Tokens
from auricle.encoders.parts.token_drop import keep_crossing
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer
from auricle.errors import ConfigError
from auricle.zoo.families.audiomosaic import official_name


class AudioMosaicHead(nn.Module):
    """Base: an encoder, its `fc_norm`, and a linear layer to `classes`.

    Args:
        encoder: ends with `fc_norm`.
        classes: C.
        generator: for the head's weights, normal of std 2.5e-5 (None: one seeded with 0).

    Raises:
        ConfigError: the encoder has no `fc_norm` or no class token.
    """

    def __init__(self, encoder: SpectrogramTransformer, classes: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if encoder.config.final != "fc_norm" or not encoder.config.cls:
            raise ConfigError("AudioMosaic's heads need an encoder with final='fc_norm' and a class token")
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, classes)
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        nn.init.normal_(self.head.weight, std=2.5e-5, generator=generator)
        nn.init.zeros_(self.head.bias)

    def official_names(self) -> dict[str, str]:
        """Return our name -> official name of every tensor of the state dict."""
        return {
            name: official_name(name.removeprefix("encoder.")) if name.startswith("encoder.") else name
            for name in self.state_dict()
        }

    def load_official(self, state: dict[str, Tensor]) -> None:
        """Load an official state dict of this head, encoder included.

        Raises:
            ConfigError: names are missing.
        """
        missing = sorted(set(self.official_names().values()) - state.keys())
        if missing:
            raise ConfigError(f"found a state dict without {', '.join(missing[:6])}, expected those of {type(self)}")
        shapes = {name: tensor.shape for name, tensor in self.state_dict().items()}
        self.load_state_dict({n: state[o].reshape(shapes[n]) for n, o in self.official_names().items()})

    def outputs(self, features: Features, layers: Sequence[int]) -> tuple[Tokens, ...]:
        """Return the tokens of the requested blocks (1 ... L), then the final output."""
        final = self.encoder(features, layers=layers)
        hidden = tuple(replace(final, x=layer.block, cls=layer.cls, layers=None) for layer in final.layers or ())
        return (*hidden, replace(final, layers=None))

    def every_output(self, features: Features) -> tuple[Tokens, ...]:
        """Return the tokens of all blocks, the last one's twice."""
        return self.outputs(features, range(1, self.encoder.depth + 1))

    def classify(self, pooled: Tensor) -> Tensor:
        """Return logits `(B, C)` of averaged tokens `(B, D)`."""
        return self.head(self.encoder.fc_norm(pooled))


class Classifier(AudioMosaicHead):
    """Mean over tokens, `fc_norm`, linear; in training whole time columns and mel rows are dropped.

    Args:
        encoder: the encoder.
        classes: C.
        drop: shares of time columns and of mel rows dropped in training.
        generator: for the head's weights.
    """

    def __init__(
        self,
        encoder: SpectrogramTransformer,
        classes: int,
        drop: tuple[float, float] = (0.2, 0.2),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(encoder, classes, generator)
        self.drop = drop

    def draw(self, grid: Grid, clips: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the noise of the token drop: `(B, T)` for time columns, then `(B, F)` for mel rows."""
        return torch.rand(clips, grid.time, generator=generator), torch.rand(clips, grid.freq, generator=generator)

    def keep(self, tokens: Tokens, noise: Sequence[Tensor]) -> Tokens:
        """Drop time columns and mel rows by the noise of `draw`."""
        time, freq = (n.to(tokens.x.device) for n in noise)
        return tokens.keep(keep_crossing(time, self.drop[0], freq, self.drop[1]))

    def forward(self, features: Features, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return logits `(B, C)`.

        Args:
            features: of B clips.
            noise: of `draw`; required in training mode (unless nothing is dropped), ignored otherwise.

        Raises:
            ConfigError: training mode without noise.
        """
        tokens = self.encoder.tokenize(features)
        if self.training and any(self.drop):
            if noise is None:
                raise ConfigError("found no mask noise, expected that of draw(): training drops tokens at random")
            tokens = self.keep(tokens, noise)
        return self.head(self.encoder.pool(self.encoder.contextualize(tokens)))


class LayerProbe(AudioMosaicHead):
    """Mean over the tokens of one block's output, `fc_norm`, linear.

    Args:
        encoder: frozen; `fc_norm` is trained with the head.
        classes: C.
        layer: number of the block, from 1.
        generator: for the head's weights.
    """

    def __init__(
        self, encoder: SpectrogramTransformer, classes: int, layer: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(encoder, classes, generator)
        if not 1 <= layer <= encoder.depth:
            raise ConfigError(f"found layer {layer}, expected 1 to {encoder.depth}")
        self.layer = layer

    def forward(self, features: Features) -> Tensor:
        """Return logits `(B, C)`."""
        return self.classify(self.outputs(features, [self.layer])[0].mean(with_cls=True))


class WeightedSum(AudioMosaicHead):
    """Softmax-weighted sum over the listed outputs, mean over tokens, `fc_norm`, linear."""

    def __init__(self, encoder: SpectrogramTransformer, classes: int, generator: torch.Generator | None = None) -> None:
        super().__init__(encoder, classes, generator)
        self.layer_weights = nn.Parameter(torch.zeros(encoder.depth + 1))

    def forward(self, features: Features) -> Tensor:
        """Return logits `(B, C)`."""
        # Averaging over tokens first gives the same sum with less memory.
        means = torch.stack([tokens.mean(with_cls=True) for tokens in self.every_output(features)], 1)
        return self.classify((means * self.layer_weights.softmax(0).view(1, -1, 1)).sum(1))


class AttentiveSum(AudioMosaicHead):
    """Attention over the listed outputs (not over time): each normalised and averaged, one learned query.

    Args:
        encoder: frozen; `fc_norm` is trained with the head.
        classes: C.
        heads: attention heads.
        generator: for the new weights, truncated normal of std 0.02.
    """

    def __init__(
        self,
        encoder: SpectrogramTransformer,
        classes: int,
        heads: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        super().__init__(encoder, classes, generator)
        D = encoder.width
        if D % heads:
            raise ConfigError(f"found {heads} heads, expected a divisor of the width {D}")
        self.attn_query = nn.Parameter(torch.zeros(1, heads, 1, D // heads))
        self.attn_key = nn.Linear(D, D, bias=False)
        self.attn_value = nn.Linear(D, D, bias=False)
        for weight in (self.attn_query, self.attn_key.weight, self.attn_value.weight):
            nn.init.trunc_normal_(weight, std=0.02, a=-2.0, b=2.0, generator=generator)
        self.layer_norms = nn.ModuleList(nn.LayerNorm(D, eps=encoder.config.eps) for _ in range(encoder.depth + 1))

    def forward(self, features: Features) -> Tensor:
        """Return logits `(B, C)`."""
        entries = torch.stack(
            [
                replace(tokens, x=norm(tokens.x), cls=norm(tokens.cls)).mean(with_cls=True)
                for norm, tokens in zip(self.layer_norms, self.every_output(features), strict=True)
            ],
            1,
        )
        B, L, D = entries.shape
        heads = self.attn_query.shape[1]
        key = self.attn_key(entries).view(B, L, heads, D // heads).transpose(1, 2)
        value = self.attn_value(entries).view(B, L, heads, D // heads).transpose(1, 2)
        share = (self.attn_query @ key.transpose(2, 3) * (D // heads) ** -0.5).softmax(-1)
        return self.classify((share @ value).transpose(1, 2).reshape(B, D))
