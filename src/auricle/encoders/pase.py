"""PASE and PASE+: a learned filter bank, strided convolutions, and one vector every 10 ms.

Sources: PASE, arXiv 1904.03416, section 2.1; PASE+, arXiv 2001.09239, section 2.2 (dense skips and a recurrent layer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import Count, Natural, Positive
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens, valid_positions
from auricle.encoders.parts.causal_layers import RecurrentLayer
from auricle.encoders.parts.mamba_mixer import reverse_rows
from auricle.encoders.parts.pase_block import Edges, PaseBlock, averaged, normalised
from auricle.errors import ConfigError


def _blocks(*widths: int) -> tuple[tuple[int, int, int], ...]:
    kernels, strides = (20, 11, 11, 11, 11, 11, 11), (10, 2, 1, 2, 1, 2, 2)
    return tuple(zip(widths, kernels, strides, strict=True))


@dataclass(frozen=True)
class PaseConfig(EncoderConfig):
    """Settings of PASE's encoder. Sizes: `base` is PASE (5.8 M), `plus` PASE+; `tiny` and `small` are narrower PASEs.

    Attributes:
        filters: learned band-pass filters over the samples.
        filter_taps: taps of each, an odd number.
        blocks: (channels, kernel, stride) of the convolutions; the strides multiply to a hop of 160 samples.
        width: D.
        skips: every block but the last adds its projected output, averaged over each token's hop, to the tokens.
        recurrent: width of a bidirectional recurrent layer before the output, half of it per direction; 0: none. PASE+
            has a QRNN of 512, which is fast only with a special kernel; here it is a GRU, as in the authors' own GRU
            setting.
        output_norm: batch norm without weights on the output.
        edges: padding around a clip: `zeros`, exact in padded batches; `reflect` as published: padding after a clip
            then leaks into its last tokens.
        rate: sample rate in Hz.
    """

    filters: Count = 64
    filter_taps: int = 251
    blocks: tuple[tuple[Count, Count, Count], ...] = _blocks(64, 128, 128, 256, 256, 512, 512)
    width: Count = 100
    skips: bool = False
    recurrent: Natural = 0
    output_norm: bool = True
    edges: Edges = "zeros"
    rate: Positive = 16000.0

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"filters": 32, "blocks": _blocks(32, 64, 64, 128, 128, 256, 256)},
        "small": {"filters": 48, "blocks": _blocks(48, 96, 96, 192, 192, 384, 384)},
        "base": {},
        "plus": {"width": 256, "skips": True, "recurrent": 512},
    }

    def __post_init__(self) -> None:
        if self.recurrent % 2:
            raise ConfigError(f"found recurrent {self.recurrent}, expected an even number: half of it per direction")
        if not self.blocks:
            raise ConfigError("found no blocks, expected at least one (channels, kernel, stride)")
        if any(kernel < stride or (stride == 1 and kernel % 2 == 0) for _, kernel, stride in self.blocks):
            raise ConfigError(f"found blocks {self.blocks}; a kernel can't be below its stride, nor even at stride 1")


class Pase(Encoder):
    """A token every 160 samples, with a receptive field of 2,370 samples (the whole clip with a recurrent layer).

    Tokens before context are the filter bank's output, one per sample; layers 1 ... 7 are the blocks, each on its own
    grid, then the recurrent layer if there is one, and last the output. Tokens can't be masked or dropped. Batch norms
    compute their statistics from valid steps only. Convolutions have no bias, as each is followed by a batch norm. The
    clip vector, the mean of the valid tokens, is the chunk vector of PASE's global worker.

    Attributes:
        no_decay: the filters' edges are frequencies; decay would pull them to the least edge and band.
        hop: samples from token to token.
        receptive_field: of the convolutions, in samples.
    """

    no_decay = frozenset({"sinc.filters.low", "sinc.filters.band"})

    def __init__(self, config: PaseConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.bands, self.input_rate = None, config.rate
        self.width, self.depth = config.width, len(config.blocks) + bool(config.recurrent) + 1
        exact = {Ability.EXACT_PADDING} if config.edges == "zeros" else set()
        self.abilities = frozenset(exact)
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
        """Draw fresh weights (uniform in +-1/sqrt(fan in)); reset mel-spaced filters, norms and rectifiers."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for module in self.modules():
            if isinstance(module, PaseBlock | RecurrentLayer):
                module.initialise(generator)
            elif isinstance(module, nn.Linear):
                for parameter in module.parameters():
                    parameter.uniform_(-(module.in_features**-0.5), module.in_features**-0.5, generator=generator)

    def grid(self, frames: int) -> Grid:
        for stage in self.stages:
            frames = stage.frames(frames)
        return Grid(frames, 1, self.input_rate / self.hop)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        lengths = features.lengths.to(features.x.device)
        valid = valid_positions(lengths, features.x.shape[1])
        x, _, valid = self.sinc(features.x.unsqueeze(1), lengths, valid)
        return Tokens(x.transpose(1, 2), Grid(x.shape[2], 1, self.input_rate), valid=valid)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
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
            ahead, back = self.recurrent
            y = torch.cat([ahead(y)[0], reverse_rows(back(reverse_rows(y, lengths))[0], lengths)], -1)
            keep(self.depth - 1, y)
        y = self.output(y)
        for skip, (x, count, ratio) in zip(self.skips, below[:-1], strict=False):
            y = y + skip(averaged(x, count, y.shape[1], ratio).transpose(1, 2))
        if self.output_norm is not None:
            y = normalised(self.output_norm, y.transpose(1, 2), valid).transpose(1, 2)
        keep(self.depth, y)
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=y, grid=Grid(y.shape[1], 1, self.input_rate / self.hop), valid=valid, layers=hidden)
