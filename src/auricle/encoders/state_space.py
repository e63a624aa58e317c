"""Selective state space encoders over spectrogram patches: SSAM (one direction) and SSAMBA (both directions).

Sources: SSAM ("Audio Mamba: Selective State Spaces for Self-Supervised Audio Representations"), arXiv 2406.02178, and
its code; SSAMBA, arXiv 2405.11831, and its pre-training script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import Count, Positive, ShareBelowOne
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens, valid_positions
from auricle.encoders.parts.mamba_mixer import MambaMixer, MixerState, mix_together, reverse_rows
from auricle.encoders.parts.positions import sincos_grid
from auricle.encoders.parts.token_line import ReadingOrder, TokenLine
from auricle.errors import ConfigError

# What SSAMBA's code does beyond its paper.
_RELEASED: dict[str, Any] = {"order": "frequency", "norm_twice": True}


@dataclass(frozen=True)
class StateSpaceConfig(EncoderConfig):
    """Settings of a selective state space encoder; the defaults are SSAM's tiny size without a class token.

    SSAM (arXiv 2406.02178, released code): two seconds of 80 mel bins, patches of 4 frames by 16 bins, 12 blocks of one
    direction with 24 states and an expansion of 3, fixed sin-cos positions. Its class token comes *first*, where a
    causal encoder gives every clip the same one (`cls="first"`). The default has none and pools by the mean; `last`
    puts a summary token at the end.

    Attributes:
        width: D, a multiple of 4.
        depth: number of blocks.
        states: N, states per channel.
        expand: channels inside a block, relative to D.
        kernel: of the causal convolution in a block.
        bidirectional: every block scans from both ends.
        pairs: blocks 1 and 2, 3 and 4, ... read the same input, the second one reversed, and their outputs are added.
            `published` adds their residual streams too, which doubles the stream at every pair (SSAMBA's code, from
            Vision Mamba's); `single` adds it once. `none`: blocks follow each other.
        patch: size of a patch in (frames, mel bins); patches do not overlap.
        mels: mel bins of the input, a multiple of the patch's.
        frames: longest input in frames; it fixes the grid of positions.
        frame_rate: frames per second of the front end.
        cls: position of a class token: `none`, `first` (published by both) or `last` (after the last valid token).
        pooling: `mean` of the valid tokens, or `cls`.
        positions: `sincos`, fixed on the (time, freq) grid, or `learned`.
        order: in which the patches are read: one `time` step after the other, or one band of `frequency` after the
            other (SSAMBA's code); encoders of one direction read along time.
        norm_twice: apply the final norm twice (SSAMBA's code).
        drop_path: chance that a clip skips a block's branch in training.
        eps: of the layer norms.
    """

    width: Count = 192
    depth: Count = 12
    states: Count = 24
    expand: Count = 3
    kernel: Count = 4
    bidirectional: bool = False
    pairs: Literal["none", "published", "single"] = "none"
    patch: tuple[Count, Count] = (4, 16)
    mels: Count = 80
    frames: Count = 200
    frame_rate: Positive = 100.0
    cls: Literal["none", "first", "last"] = "none"
    pooling: Literal["mean", "cls"] = "mean"
    positions: Literal["sincos", "learned"] = "sincos"
    order: ReadingOrder = "time"
    norm_twice: bool = False
    drop_path: ShareBelowOne = 0.0
    eps: Positive = 1e-6

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 192, "depth": 12},
        "small": {"width": 384, "depth": 12},
        "base": {"width": 768, "depth": 12},
    }

    def __post_init__(self) -> None:
        if self.positions == "sincos" and self.width % 4:
            raise ConfigError(f"width {self.width} must be a multiple of 4 for sin-cos positions on two axes")
        if self.pairs != "none" and self.depth % 2:
            raise ConfigError(f"depth {self.depth} must be even: blocks come in pairs (pairs={self.pairs!r})")
        if self.mels % self.patch[1]:
            raise ConfigError(f"mels {self.mels} must be a multiple of the patch height {self.patch[1]}")
        if self.frames % self.patch[0]:
            raise ConfigError(f"frames {self.frames} must be a multiple of the patch length {self.patch[0]}")
        if self.order == "frequency" and self.causal:
            raise ConfigError(
                "found order 'frequency' in an encoder of one direction, whose tokens depend on earlier times only; "
                "set order to 'time'"
            )
        if self.pooling == "cls" and self.cls == "none":
            raise ConfigError("pooling 'cls' reads the class token, but cls is 'none'; use 'mean' or cls='last'")
        if self.pooling == "cls" and self.cls == "first" and self.causal:
            raise ConfigError(
                "pooling 'cls' with cls 'first' gives every clip the same vector: in one direction the first token "
                "sees no other; use cls='last' or pooling='mean'"
            )

    @property
    def causal(self) -> bool:
        """Whether every token depends on earlier ones only."""
        return not self.bidirectional and self.pairs == "none"

    @property
    def layers(self) -> int:
        """Number of layers: pairs of blocks, or blocks."""
        return self.depth if self.pairs == "none" else self.depth // 2


@dataclass(frozen=True)
class BidirectionalStateSpaceConfig(StateSpaceConfig):
    """SSAMBA's settings (arXiv 2405.11831 and its pre-training script); fields as in `StateSpaceConfig`.

    1024 frames of 128 mel bins in patches of 16 by 16, learned positions, class token first, 24 blocks, each scanning
    from both ends (Vision Mamba), in pairs of which the second reads the reversed sequence. The clip vector is the mean
    of the patch tokens, as in its fine-tuning (`ft_avgtok`). Published sizes are `tiny`, `small` and `base`, which read
    one band after the other and end with two norms, as the released code does; `micro` is ours, for CPUs.
    """

    depth: Count = 24
    states: Count = 16
    expand: Count = 2
    bidirectional: bool = True
    pairs: Literal["none", "published", "single"] = "published"
    patch: tuple[Count, Count] = (16, 16)
    mels: Count = 128
    frames: Count = 1024
    cls: Literal["none", "first", "last"] = "first"
    positions: Literal["sincos", "learned"] = "learned"
    drop_path: ShareBelowOne = 0.1
    eps: Positive = 1e-5

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "micro": {"width": 128, "depth": 8},
        "tiny": {"width": 192, "depth": 24, **_RELEASED},
        "small": {"width": 384, "depth": 24, **_RELEASED},
        "base": {"width": 768, "depth": 24, **_RELEASED},
    }


class StateSpaceBlock(nn.Module):
    """Layer norm and Mamba mixer, without the residual sum."""

    def __init__(self, config: StateSpaceConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=config.eps)
        self.mixer = MambaMixer(
            config.width,
            states=config.states,
            expand=config.expand,
            kernel=config.kernel,
            bidirectional=config.bidirectional,
        )


class StateSpace(Encoder):
    """Patches of a spectrogram, positions, and a stack of Mamba blocks: cost linear in the number of tokens.

    Inputs shorter than `config.frames` use the first columns of the positions. Frames are padded to whole patches with
    the features' own pad value; a token is valid if its patch holds at least one valid frame.

    A token can be hidden but not dropped: a recurrence takes positions from the order of the tokens. A pair of blocks
    is one layer. `Layer.block` is the residual stream before the final norm; `Layer.feedforward` the mixer's output
    before the residual sum (a Mamba block has no other branch).
    """

    no_decay = frozenset({"cls_token", "positions"})

    def __init__(self, config: StateSpaceConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.max_frames = config.width, config.frames
        self.depth = config.layers
        self.bands, self.input_rate = config.mels, config.frame_rate
        abilities = {Ability.MASK, Ability.EXACT_PADDING}
        if config.cls != "none":
            abilities.add(Ability.CLS)
        if config.causal:
            abilities |= {Ability.CAUSAL, Ability.STREAM}
        self.abilities = frozenset(abilities)
        self.patch_proj = nn.Linear(config.patch[0] * config.patch[1], config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width)) if config.cls != "none" else None
        places = self.grid(config.frames).tokens
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.zeros(1, int(config.cls != "none") + places, config.width))
        else:
            self.register_buffer("positions", torch.zeros(1, places, config.width), persistent=False)
        self.blocks = nn.ModuleList(StateSpaceBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.eps)
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights from `generator` (None: one seeded with 0)."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        nn.init.kaiming_uniform_(self.patch_proj.weight, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.patch_proj.bias)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02, generator=generator)
        if self.config.positions == "learned":
            nn.init.trunc_normal_(self.positions, std=0.02, a=-2.0, b=2.0, generator=generator)
        else:
            grid = self.grid(self.config.frames)
            self.positions.copy_(sincos_grid(grid.time, grid.freq, self.width).unsqueeze(0))
        for block in (block for group in self.groups() for block in group):
            block.norm.reset_parameters()
            block.mixer.initialise(generator, len(self.blocks))
        self.norm.reset_parameters()

    def grid(self, frames: int) -> Grid:
        time, freq = self.config.patch
        return Grid(-(-frames // time), self.config.mels // freq, self.config.frame_rate / time)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        return self._tokens(features, 0)

    def _tokens(self, features: Features, first: int) -> Tokens:
        """Embed the patches of the time steps from `first` on."""
        x, grid = features.x, self.grid(features.x.shape[1])
        time, freq = self.config.patch
        x = F.pad(x, (0, 0, 0, grid.time * time - x.shape[1]), value=features.pad)
        patches = x.unflatten(2, (grid.freq, freq)).unflatten(1, (grid.time, time)).transpose(2, 3)
        y = self.patch_proj(patches.reshape(x.shape[0], grid.tokens, time * freq))
        skip = self.positions.shape[1] - self.grid(self.config.frames).tokens
        start = skip + first * grid.freq
        positions = self.positions[:, start : start + grid.tokens]
        cls = None
        if self.cls_token is not None:
            cls = self.cls_token + self.positions[:, :1] if skip else self.cls_token
            cls = cls.expand(x.shape[0], -1, -1)
        valid = valid_positions(-(-features.lengths // time), grid.time, grid.freq)
        return Tokens(y + positions, grid, valid=valid, cls=cls, positions=positions)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        self.check_layers(layers)
        self.check_all_tokens(tokens)
        line = TokenLine(tokens, self.config.cls, self.config.order)
        x, lengths = line.joined()
        seen: dict[int, Layer] = {}

        def keep(layer: int, block: Tensor, branch: Tensor | None) -> None:
            if layer in layers:
                body, cls = line.parted(block)
                seen[layer] = Layer(body, tokens.grid, None if branch is None else line.parted(branch)[0], cls)

        keep(0, x, None)
        for number, group in enumerate(self.groups(), 1):
            branch = self._branch(group, x, lengths)
            x = len(group) * x + branch if self.config.pairs == "published" else x + branch
            keep(number, x, branch)
        x, cls = line.parted(self._finish(x))
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=x, cls=cls, layers=hidden)

    def stream(
        self, features: Features, states: tuple[int, tuple[MixerState, ...]] | None = None
    ) -> tuple[Tokens, tuple[int, tuple[MixerState, ...]]]:
        """Encode the next chunk of a stream; all chunks together equal the whole input.

        Args:
            features: whole patches of frames `(B, T', F')`, without padding.
            states: returned by the previous chunk; None: this is the first one.

        Returns:
            The chunk's tokens, and the states for the next call.

        Raises:
            ConfigError: the encoder reads in both directions, the chunk is no whole number of patches, or the stream
                is longer than the settings' frames.
        """
        if Ability.STREAM not in self.abilities:
            raise ConfigError("found an encoder that reads in both directions; only one-directional ones can stream")
        self.check_input(features)
        first, carried = (0, None) if states is None else states
        time, frames = self.config.patch[0], features.x.shape[1]
        if frames % time or not bool((features.lengths == frames).all()):
            raise ConfigError(f"found a chunk of {frames} frames, expected whole patches of {time} without padding")
        if first * time + frames > self.config.frames:
            raise ConfigError(
                f"the stream reaches {first * time + frames} frames, but there are positions for {self.config.frames}; "
                "start a new stream (states=None) or build the encoder for longer inputs"
            )
        tokens = self._tokens(features, first)
        leading = tokens.cls if self.config.cls == "first" and first == 0 else None
        x = tokens.x if leading is None else torch.cat([leading, tokens.x], 1)
        left = []
        for number, block in enumerate(block for group in self.groups() for block in group):
            y, state = block.mixer.chunk(block.norm(x), None if carried is None else carried[number])
            x = x + y
            left.append(state)
        x = self._finish(x)[:, 0 if leading is None else 1 :]
        return replace(tokens, x=x, cls=None), (first + tokens.grid.time, tuple(left))

    def groups(self) -> list[list[StateSpaceBlock]]:
        """Return the blocks of each layer: pairs that read the same input from both ends, or single ones."""
        blocks: list[Any] = list(self.blocks)
        step = 1 if self.config.pairs == "none" else 2
        return [blocks[i : i + step] for i in range(0, len(blocks), step)]

    def _branch(self, group: list[StateSpaceBlock], x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the branch that the blocks of one layer add to the residual stream."""
        jobs = [(group[0].mixer, group[0].norm(x))]
        if len(group) == 2:
            jobs.append((group[1].mixer, reverse_rows(group[1].norm(x), lengths)))
        mixed = mix_together(jobs, lengths)
        branch = mixed[0] if len(group) == 1 else mixed[0] + reverse_rows(mixed[1], lengths)
        rate = self.config.drop_path
        if self.training and rate:
            # Drawn from torch's global generator, so that a replay makes the same draws.
            stays = torch.rand(x.shape[0], 1, 1, device=x.device) >= rate
            branch = branch * stays / (1 - rate)
        return branch

    def _finish(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.norm(x) if self.config.norm_twice else x

    def pool(self, tokens: Tokens) -> Tensor:
        if self.config.pooling == "cls" and tokens.cls is not None:
            return tokens.cls[:, 0]
        return tokens.mean()
