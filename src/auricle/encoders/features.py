"""What is read of a frozen encoder: which layers, which statistics of their tokens, and which tokens probes get.

The last layer serves the pre-training objective; earlier layers often say more of the sound. The choice is a property
of the recipe, and the random-weight control is read the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.batch import Features
from auricle.config import Config, Natural, nearest
from auricle.encoders.contract import Encoder, Grid, Layer, Tokens
from auricle.errors import ConfigError

_LEAST_VARIANCE = 1e-12  # its root has a finite gradient


@dataclass(frozen=True)
class Moments:
    """First and second moments of the valid tokens of each clip, which windows of a clip are joined by.

    Attributes:
        count: `(B,)` valid tokens.
        mean: `(B, D)` float32; zeros for a clip without any.
        squares: `(B, D)` float32, sum of squared deviations from the mean.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor, valid: Tensor) -> Moments:
        """Compute the moments of tokens `(B, N, D)` with validity `(B, N)`; invalid tokens may hold anything."""
        hidden, count = ~valid.unsqueeze(-1), valid.sum(1)
        x = x.float().masked_fill(hidden, 0.0)
        mean = x.sum(1) / count.clamp(min=1).unsqueeze(1)
        squares = (x - mean.unsqueeze(1)).masked_fill(hidden, 0.0).square().sum(1)
        return cls(count, mean, squares)

    def join(self, other: Moments) -> Moments:
        """Return the moments of the tokens of both, exactly (Chan, Golub, LeVeque 1979)."""
        count, difference = self.count + other.count, other.mean - self.mean
        share = (other.count / count.clamp(min=1)).unsqueeze(1)
        squares = self.squares + other.squares + difference.square() * share * self.count.unsqueeze(1)
        return Moments(count, self.mean + difference * share, squares)

    def spread(self, rows: Tensor, size: int) -> Moments:
        """Return the moments of `size` clips, of which these are `rows`; the others have no token."""
        parts = (self.count, self.mean, self.squares)
        return Moments(*(x.new_zeros(size, *x.shape[1:]).index_copy_(0, rows, x) for x in parts))

    @property
    def deviation(self) -> Tensor:
        """`(B, D)` standard deviation."""
        return (self.squares / self.count.clamp(min=1).unsqueeze(1)).clamp(min=_LEAST_VARIANCE).sqrt()


@dataclass(frozen=True)
class FeaturesConfig(Config, section="features"):
    """What is read of a frozen encoder.

    Examples:
        >>> FeaturesConfig().words
        'output'
        >>> FeaturesConfig("all", "mean_std", "mean").words
        'all layers, mean and deviation'

    Attributes:
        layers: `output`; `all`: from 0, the input of the first block, to the last block; or numbers of layers.
        vector: the clip vector: `encoder`, the encoder's own pooling of its output; `mean` of the valid tokens;
            `mean_std`, mean and standard deviation of each dimension. Of several layers all are joined, in order.
        tokens: what probes of tokens read: the encoder's `output`, or the `mean` over the layers of their tokens, each
            token normalised to mean 0 and variance 1 over its dimensions; layers of another grid or width than the
            output's are not averaged, and tokens of one layer stay as they are.
    """

    layers: Literal["output", "all"] | tuple[Natural, ...] = "output"
    vector: Literal["encoder", "mean", "mean_std"] = "encoder"
    tokens: Literal["output", "mean"] = "output"

    def __post_init__(self) -> None:
        if not isinstance(self.layers, str) and (not self.layers or len(set(self.layers)) < len(self.layers)):
            raise ConfigError(f"features.layers is {list(self.layers)}; expected different numbers, at least one")
        if self.layers != "output" and self.vector == "encoder":
            raise ConfigError(
                f"features.layers is {self.layers!r} with features.vector encoder, and an encoder's own pooling is for "
                "its output; set --features.vector to mean or mean_std"
            )
        if self.layers == "output" and self.tokens == "mean":
            raise ConfigError(
                "features.tokens is mean, and features.layers names no layers to average; set --features.layers to all"
            )

    @property
    def words(self) -> str:
        """The choice in words, for tables and records."""
        if self == OUTPUT:
            return "output"
        kinds = {"encoder": "own pooling", "mean": "mean", "mean_std": "mean and deviation"}
        tokens = "" if self.layers == "output" else "; tokens of the output"
        return f"{self.place}, {kinds[self.vector]}{tokens if self.tokens == 'output' else ''}"

    @property
    def place(self) -> str:
        """The layers in words, as a name is marked."""
        if isinstance(self.layers, str):
            return {"output": "output", "all": "all layers"}[self.layers]
        return f"layer{'s' * (len(self.layers) > 1)} {', '.join(map(str, self.layers))}"

    def numbers(self, depth: int) -> tuple[int, ...]:
        """Return the numbers of the layers, `()` for the output."""
        if isinstance(self.layers, str):
            return tuple(range(depth + 1)) if self.layers == "all" else ()
        return self.layers

    def check(self, encoder: Encoder, name: str) -> None:
        """Refuse layers that an encoder does not have.

        Raises:
            ConfigError: naming what it has.
        """
        numbers, depth = self.numbers(encoder.depth), encoder.depth
        if numbers and not depth:
            raise ConfigError(
                f"features.layers is {self.layers!r}, and {name} has no layers: it returns its output alone; "
                "set --features output"
            )
        if numbers and max(numbers) > depth:
            raise ConfigError(
                f"features.layers names layer {max(numbers)}, and {name} has {depth}; expected numbers from 0 to "
                f"{depth}, all, or output"
            )

    def read(
        self, encoder: Encoder, features: Features, layers: Sequence[int] = ()
    ) -> tuple[Tokens, tuple[Moments, ...]]:
        """Encode features in one pass, and return tokens to probe and the moments that the clip vector is made of.

        Args:
            encoder: encodes `(B, T', F')`; gradients flow.
            features: short enough for one pass.
            layers: others that are wanted in `Tokens.layers`, in this order.

        Returns:
            Tokens whose `valid` is set, and the moments of each layer read (of `encoder`: one, its own pooling).

        Raises:
            ConfigError: a layer does not exist, or tokens are to be averaged and no layer has the output's shape.
        """
        numbers = self.numbers(encoder.depth)
        asked = tuple(dict.fromkeys((*layers, *numbers)))
        tokens = encoder(features, asked)
        valid = tokens.valid
        if valid is None:
            valid = torch.ones(tokens.x.shape[:2], dtype=torch.bool, device=tokens.x.device)
            tokens = replace(tokens, valid=valid)
        found = dict(zip(asked, tokens.layers or (), strict=True))
        read = [found[number] for number in numbers]
        if self.vector == "encoder":
            pooled = encoder.pool(tokens).float()
            moments: tuple[Moments, ...] = (Moments(valid.sum(1), pooled, torch.zeros_like(pooled)),)
        elif not read:
            moments = (Moments.of(tokens.x, valid),)
        else:
            moments = tuple(Moments.of(layer.block, valid_on(tokens, layer.grid)) for layer in read)
        if self.tokens == "mean":
            tokens = replace(tokens, x=_averaged(tokens, read))
        return replace(tokens, layers=tuple(found[number] for number in layers) or None), moments

    def summary(self, moments: Sequence[Moments]) -> Tensor:
        """Return the clip vectors `(B, D')` of the moments that `read` returned."""
        parts = [(m.mean, m.deviation) if self.vector == "mean_std" else (m.mean,) for m in moments]
        return torch.cat([x for part in parts for x in part], 1)


OUTPUT = FeaturesConfig()
"""The encoder's output and its own pooling."""
LAYERS = FeaturesConfig("all", "mean_std", "mean")
"""All layers, mean and standard deviation; tokens averaged over layers."""
NAMED = {"output": OUTPUT, "layers": LAYERS}


def get_features(name: str | FeaturesConfig, recipe: FeaturesConfig) -> FeaturesConfig:
    """Return the features behind a name: `recipe`, `output` or `layers`.

    Args:
        name: or the settings themselves.
        recipe: what the recipe says; of other models `OUTPUT`.

    Raises:
        ConfigError: there is no such name.
    """
    if isinstance(name, FeaturesConfig):
        return name
    known = {"recipe": recipe, **NAMED}
    if name not in known:
        raise ConfigError(f"features is {name!r}; expected recipe, output or layers{nearest(name, known, known=False)}")
    return known[name]


def valid_on(tokens: Tokens, grid: Grid) -> Tensor:
    """Return the validity `(B, N)` of a layer; on another grid than the output's that of the token at the same time."""
    B = tokens.x.shape[0]
    whole = torch.ones(tokens.x.shape[:2], dtype=torch.bool) if tokens.valid is None else tokens.valid
    if (grid.time, grid.freq) == (tokens.grid.time, tokens.grid.freq):
        return whole
    columns = whole.view(B, tokens.grid.time, tokens.grid.freq).any(2)
    place = torch.arange(grid.time, device=whole.device) * tokens.grid.time // grid.time
    return columns[:, place].unsqueeze(2).expand(-1, -1, grid.freq).reshape(B, -1)


def _averaged(tokens: Tokens, layers: Sequence[Layer]) -> Tensor:
    """Return the mean of normalised tokens `(B, N, D)` over the layers of the output's shape; of one its tokens."""
    blocks = [layer.block for layer in layers if layer.block.shape == tokens.x.shape]
    if not blocks:
        shapes = ", ".join(sorted({str(tuple(layer.block.shape[1:])) for layer in layers}))
        raise ConfigError(
            f"features.tokens is mean, and no layer has tokens of the output's shape (tokens, width) "
            f"{tuple(tokens.x.shape[1:])}: {shapes}; set --features output (Python: tokens='output')"
        )
    if len(blocks) == 1:
        return blocks[0]
    return torch.stack([F.layer_norm(block.float(), block.shape[-1:]) for block in blocks]).mean(0)


def map_tokens(tokens: Tokens, change: Any) -> Tokens:
    """Apply a change of rows to every tensor of a token map."""

    def maybe(x: Tensor | None) -> Any:
        return None if x is None else change(x)

    layers = tokens.layers and tuple(
        Layer(change(layer.block), layer.grid, maybe(layer.feedforward), maybe(layer.cls)) for layer in tokens.layers
    )
    return replace(tokens, x=change(tokens.x), valid=maybe(tokens.valid), cls=maybe(tokens.cls), layers=layers)


def join_tokens(tokens: Sequence[Tokens]) -> Tokens:
    """Join windows along time; class tokens are means weighted by valid tokens."""
    valid = [t.valid for t in tokens if t.valid is not None]
    weight = torch.stack([v.sum(1) for v in valid]).float()
    weight = weight / weight.sum(0).clamp(min=1)

    def mean(each: Sequence[Tensor]) -> Tensor:
        return sum((x * w.view(-1, *[1] * (x.dim() - 1)) for x, w in zip(each, weight, strict=True)), torch.zeros(()))

    def maybe(each: Sequence[Tensor | None], join: Any) -> Tensor | None:
        there = [x for x in each if x is not None]
        return join(there) if there else None

    def time(each: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(each), 1)

    def grid(grids: Sequence[Grid]) -> Grid:
        return replace(grids[0], time=sum(g.time for g in grids))

    layers = None
    if tokens[0].layers is not None:
        layers = tuple(
            Layer(
                time([layer.block for layer in column]),
                grid([layer.grid for layer in column]),
                maybe([layer.feedforward for layer in column], time),
                maybe([layer.cls for layer in column], mean),
            )
            for column in zip(*(t.layers or () for t in tokens), strict=True)
        )
    return Tokens(
        time([t.x for t in tokens]),
        grid([t.grid for t in tokens]),
        valid=time(valid),
        cls=maybe([t.cls for t in tokens], mean),
        layers=layers,
    )
