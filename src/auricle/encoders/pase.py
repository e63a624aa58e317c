"""PASE and PASE+: a learned filter bank, strided convolutions, and one vector every 10 ms.

Sources: PASE, arXiv 1904.03416, section 2.1; PASE+, arXiv 2001.09239, section 2.2 (dense skips and a recurrent layer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import nearest
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens
from auricle.encoders.parts.causal_layers import RecurrentLayer
from auricle.encoders.parts.pase_block import PaseBlock, averaged, inside, normalised
from auricle.errors import ConfigError


def _blocks(*widths: int) -> tuple[tuple[int, int, int], ...]:
    kernels, strides = (20, 11, 11, 11, 11, 11, 11), (10, 2, 1, 2, 1, 2, 2)
    return tuple(zip(widths, kernels, strides, strict=True))


SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"filters": 32, "blocks": _blocks(32, 64, 64, 128, 128, 256, 256)},
    "small": {"filters": 48, "blocks": _blocks(48, 96, 96, 192, 192, 384, 384)},
    "base": {},
    "plus": {"width": 256, "skips": True, "recurrent": 512},
}


@dataclass(frozen=True)
class PaseConfig(EncoderConfig):
    """Settings of PASE's encoder. Sizes: `base` is PASE (5.8 M), `plus` PASE+; `tiny` and `small` are narrower PASEs.

    Attributes:
        filters: learned band-pass filters over the samples.
        filter_taps: taps of each, odd.
        blocks: (channels, kernel, stride) of the convolutions; the strides multiply to a hop of 160 samples.
        width: D, numbers per token.
        skips: every block but the last adds to the output, through a projection, averaged over each token's hop.
        recurrent: width of a recurrent layer before the output, half of it in each direction; 0: none. PASE+ has a
            QRNN of 512; here it is a GRU in both directions (as in the authors' own GRU setting), since a QRNN is
            fast only with a kernel of its own.
        output_norm: batch norm without weights on the output.
        edges: `zeros` around a clip, its padding included, so that padding never changes a valid token; `reflect` as
            published: padding after a clip then leaks into its last tokens.
        rate: sample rate in Hz.
    """

    filters: int = 64
    filter_taps: int = 251
    blocks: tuple[tuple[int, int, int], ...] = _blocks(64, 128, 128, 256, 256, 512, 512)
    width: int = 100
    skips: bool = False
    recurrent: int = 0
    output_norm: bool = True
    edges: Literal["zeros", "reflect"] = "zeros"
    rate: float = 16000.0

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            ConfigError: naming the setting and what it must be.
        """
        if min(self.filters, self.width) < 1 or self.recurrent < 0 or self.recurrent % 2:
            raise ConfigError(
                f"found filters {self.filters}, width {self.width}, recurrent {self.recurrent}; expected at least 1, "
                "and an even number or 0 for recurrent"
            )
        if not self.blocks or any(len(block) != 3 or min(block) < 1 for block in self.blocks):
            raise ConfigError(f"found blocks {self.blocks}, expected (channels, kernel, stride), each at least 1")
        if any(kernel < stride or (stride == 1 and kernel % 2 == 0) for _, kernel, stride in self.blocks):
            raise ConfigError(f"found blocks {self.blocks}; a kernel can't be below its stride, nor even at stride 1")
        if self.edges not in ("zeros", "reflect"):
            raise ConfigError(f"unknown edges {self.edges!r}{nearest(str(self.edges), ('zeros', 'reflect'))}")

    @classmethod
    def size(cls, name: str, **changes: Any) -> PaseConfig:
        """Return the settings of a named size (`tiny`, `small`, `base`, `plus`), with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in SIZES:
            raise ConfigError(f"unknown size {name!r}{nearest(name, SIZES)}")
        return cls(**{**SIZES[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> Pase:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return Pase(self, generator)


class Pase(Encoder):
    """A token every 160 samples, which sees 2,370 samples around it (all of the clip with a recurrent layer).

    Tokens before context are the filter bank's output, one per sample; layers 1 ... 7 are the blocks, each on its own
    grid, then the recurrent layer if there is one, and last the output. Tokens can't be masked or dropped.
    Batch norms take their statistics from valid steps only. Convolutions have no bias: the batch norm after each would
    take it away.

    Attributes:
        no_decay: the filters' edges are frequencies; decay would pull them to the least edge and band.
        hop: samples from token to token.
        receptive_field: samples that the convolutions behind one token see.
    """

    no_decay = frozenset({"sinc.filters.low", "sinc.filters.band"})

    def __init__(self, config: PaseConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.bands, self.input_rate = None, config.rate
        self.width, self.depth = config.width, len(config.blocks) + bool(config.recurrent) + 1
        exact = {Ability.EXACT_PADDING} if config.edges == "zeros" else set()
        self.abilities = frozenset(exact)  # type: ignore[misc]  # depends on the settings
        self.sinc = PaseBlock.sinc(config.filters, config.filter_taps, config.rate, config.edges)
        before, blocks = config.filters, []
        for channels, kernel, stride in config.blocks:
            blocks.append(PaseBlock.convolution(before, channels, kernel, stride, config.edges))
            before = channels
        self.blocks = nn.ModuleList(blocks)
        widths = [config.filters, *(channels for channels, _, _ in config.blocks[:-1])] if config.skips else []
        self.skips = nn.ModuleList(nn.Linear(width, config.width, bias=False) for width in widths)
        half = config.recurrent // 2
        self.recurrent = nn.ModuleList(RecurrentLayer(before, half, "gru") for _ in range(2 if half else 0))
        self.output = nn.Linear(config.recurrent or before, config.width, bias=not config.output_norm)
        self.output_norm = nn.BatchNorm1d(config.width, affine=False) if config.output_norm else None
        self._measure()
        self.initialise(generator)

    @property
    def stages(self) -> list[PaseBlock]:
        """The filter bank and the blocks after it."""
        return [self.sinc, *(block for block in self.blocks if isinstance(block, PaseBlock))]

    def _measure(self) -> None:
        stages = self.stages
        self.hop, self.receptive_field, need = 1, 1, 1
        for stage in stages:
            self.receptive_field += (stage.kernel - 1) * self.hop
            self.hop *= stage.stride
        for stage in reversed(stages):
            need = stage.least(need)
        self.least_frames = need

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights (uniform in +-1/sqrt(fan in)); mel-spaced filters, norms and rectifiers as at the start.

        Args:
            generator: CPU generator; None: one seeded with 0, so that equal settings build equal weights.
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for module in self.modules():
            if isinstance(module, PaseBlock | RecurrentLayer):
                module.initialise(generator)
            elif isinstance(module, nn.Linear):
                for parameter in module.parameters():
                    parameter.uniform_(-(module.in_features**-0.5), module.in_features**-0.5, generator=generator)

    def grid(self, frames: int) -> Grid:
        """Return the token grid of an input of so many samples: S / 160 tokens for whole hops."""
        for stage in self.stages:
            frames = stage.frames(frames)
        return Grid(frames, 1, self.input_rate / self.hop)

    def tokenize(self, features: Features) -> Tokens:
        """Filter samples `(B, S)` into one token per sample, `(B, S, filters)`.

        Raises:
            ConfigError: no samples, another rate, or fewer samples than give one token.
        """
        self.check_input(features)
        lengths = features.lengths.to(features.x.device)
        valid = inside(lengths, features.x.shape[1])
        x, _, valid = self.sinc(features.x.unsqueeze(1), lengths, valid)
        return Tokens(x.transpose(1, 2), Grid(x.shape[2], 1, self.input_rate), valid=valid)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        """Run the blocks, the recurrent layer and the output on the filter bank's tokens.

        Raises:
            ConfigError: a layer outside 0 ... depth is asked for.
        """
        self.check_layers(layers)
        x, rate, valid = tokens.x.transpose(1, 2), self.input_rate, tokens.valid
        lengths = x.new_full((len(x),), x.shape[2], dtype=torch.long) if valid is None else valid.sum(1)
        seen: dict[int, Layer] = {}

        def keep(layer: int, y: Tensor) -> None:
            if layer in layers:
                seen[layer] = Layer(y, Grid(y.shape[1], 1, rate))

        keep(0, tokens.x)
        below = [(x, lengths, self.hop)]
        for number, block in enumerate(self.stages[1:], 1):
            x, lengths, valid = block(x, lengths, valid)
            rate = rate / block.stride
            below.append((x, lengths, round(self.hop * rate / self.input_rate)))
            keep(number, x.transpose(1, 2))
        y = x.transpose(1, 2)
        if len(self.recurrent):
            y = self._both_ways(y, lengths)
            keep(self.depth - 1, y)
        y = self.output(y)
        for skip, (x, count, ratio) in zip(self.skips, below[:-1], strict=False):
            y = y + skip(averaged(x, count, y.shape[1], ratio).transpose(1, 2))
        if self.output_norm is not None:
            y = normalised(self.output_norm, y.transpose(1, 2), valid).transpose(1, 2)
        keep(self.depth, y)
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=y, grid=Grid(y.shape[1], 1, self.input_rate / self.hop), valid=valid, layers=hidden)

    def _both_ways(self, x: Tensor, lengths: Tensor) -> Tensor:
        # Each clip is turned around within its own length, so that its padding comes last in both directions.
        place = torch.arange(x.shape[1], device=x.device)
        turned = torch.where(place < lengths.unsqueeze(1), lengths.unsqueeze(1) - 1 - place, place).unsqueeze(-1)
        ahead, back = self.recurrent
        one, _ = ahead(x)
        two, _ = back(x.gather(1, turned.expand_as(x)))
        return torch.cat([one, two.gather(1, turned.expand_as(two))], -1)

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the mean of the valid tokens, `(B, D)`: the chunk vector of PASE's global worker."""
        return tokens.mean()
