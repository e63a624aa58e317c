"""Selective state space encoders over spectrogram patches: SSAM (one direction) and SSAMBA (both directions).

Sources: SSAM, "Audio Mamba: Selective State Spaces for Self-Supervised Audio Representations", arXiv 2406.02178, and
its code; SSAMBA, "Self-Supervised Audio Representation Learning with Mamba State Space Model", arXiv 2405.11831, and
its pre-training script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Ability, Encoder, Grid, Layer, Tokens
from auricle.encoders.parts.mamba_mixer import MambaMixer, MixerState, mix_together, turn
from auricle.encoders.parts.positions import sincos_grid
from auricle.encoders.state_space_config import StateSpaceConfig
from auricle.errors import ConfigError


class StateSpaceBlock(nn.Module):
    """Layer norm and Mamba mixer; the residual sum is the caller's."""

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
    the features' own pad value; a token is valid if its patch holds at least one valid frame. Tokens are read in
    time-major order, all bands of a time step before the next one.

    A token can be hidden but not dropped: what its neighbours are is all that a recurrence knows of places, and
    leaving tokens out would make others neighbours. Layers are counted as `depth`: a pair of blocks is one layer.
    `Layer.block` is the residual stream before the final norm; `Layer.feedforward` the mixer's output before the
    residual sum (a Mamba block has no other branch).
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
        self.abilities = frozenset(abilities)  # type: ignore[misc]  # depends on the settings
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
        """Return the token grid of an input of so many frames: whole patches, the last one padded."""
        time, freq = self.config.patch
        return Grid(-(-frames // time), self.config.mels // freq, self.config.frame_rate / time)

    def tokenize(self, features: Features) -> Tokens:
        """Turn features `(B, T', F')` into patch tokens `(B, N, D)` with positions added.

        Raises:
            ConfigError: the features have other mel bins or another frame rate than the settings, or are too long.
        """
        self.check_input(features)
        return self._tokens(features, 0)

    def _tokens(self, features: Features, first: int) -> Tokens:
        """Embed patches that stand at the time steps from `first` on."""
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
        columns = torch.arange(grid.time, device=x.device) * time < features.lengths.unsqueeze(1)
        valid = None if bool(columns.all()) else columns.repeat_interleave(grid.freq, 1)
        return Tokens(y + positions, grid, valid=valid, cls=cls, positions=positions)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        """Run the blocks along the sequence.

        Raises:
            ConfigError: a layer outside 0 ... depth is asked for, or tokens were dropped.
        """
        self.check_layers(layers)
        if tokens.index is not None:
            raise ConfigError(
                "found tokens that were dropped; a state space encoder reads neighbours in order and needs the whole "
                "grid: hide tokens by a mask vector instead"
            )
        count = None if tokens.valid is None else tokens.valid.sum(1)
        x, lengths = self._joined(tokens.x, tokens.cls, count)
        seen: dict[int, Layer] = {}

        def keep(layer: int, block: Tensor, branch: Tensor | None) -> None:
            if layer in layers:
                body, cls = self._parted(block, tokens.cls, count)
                mixed = None if branch is None else self._parted(branch, tokens.cls, count)[0]
                seen[layer] = Layer(body, tokens.grid, mixed, cls)

        keep(0, x, None)
        for number, group in enumerate(self.groups(), 1):
            branch = self._branch(group, x, lengths)
            x = len(group) * x + branch if self.config.pairs == "published" else x + branch
            keep(number, x, branch)
        x, cls = self._parted(self._finish(x), tokens.cls, count)
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=x, cls=cls, layers=hidden)

    def stream(
        self, features: Features, states: tuple[int, tuple[MixerState, ...]] | None = None
    ) -> tuple[Tokens, tuple[int, tuple[MixerState, ...]]]:
        """Encode the next chunk of a stream; all chunks together give what the whole input gives.

        Args:
            features: whole patches of frames `(B, T', F')`, without padding.
            states: what the chunk before returned; None: this is the first one.

        Returns:
            The chunk's tokens, and what the next call needs.

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
                "start afresh (states=None) or build the encoder for longer inputs"
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
        """Return the blocks by layer: pairs that read the same input from both ends, or one by one."""
        blocks: list[Any] = list(self.blocks)
        step = 1 if self.config.pairs == "none" else 2
        return [blocks[i : i + step] for i in range(0, len(blocks), step)]

    def _branch(self, group: list[StateSpaceBlock], x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return what the blocks of one layer add to the residual stream."""
        jobs = [(group[0].mixer, group[0].norm(x))]
        if len(group) == 2:
            jobs.append((group[1].mixer, turn(group[1].norm(x), lengths)))
        mixed = mix_together(jobs, lengths)
        branch = mixed[0] if len(group) == 1 else mixed[0] + turn(mixed[1], lengths)
        rate = self.config.drop_path
        if self.training and rate:
            # From torch's global generator, so that a replay of the forward makes the same draws.
            stays = torch.rand(x.shape[0], 1, 1, device=x.device) >= rate
            branch = branch * stays / (1 - rate)
        return branch

    def _finish(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.norm(x) if self.config.norm_twice else x

    def _joined(self, x: Tensor, cls: Tensor | None, count: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Put the class token into the sequence; return it with each row's length (None: no padding)."""
        if cls is None:
            return x, count
        lengths = None if count is None else count + 1
        if self.config.cls == "first":
            return torch.cat([cls, x], 1), lengths
        joined = torch.cat([x, cls], 1)
        if count is None:
            return joined, None
        # Right behind a row's last valid token, before its padding.
        place, last = torch.arange(joined.shape[1], device=x.device), count.unsqueeze(1)
        source = torch.where(place < last, place, torch.where(place == last, x.shape[1], place - 1))
        return joined.gather(1, source.unsqueeze(-1).expand_as(joined)), lengths

    def _parted(self, x: Tensor, cls: Tensor | None, count: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Take the class token out of the sequence again."""
        if cls is None:
            return x, None
        if self.config.cls == "first":
            return x[:, 1:], x[:, :1]
        if count is None:
            return x[:, :-1], x[:, -1:]
        place, last = torch.arange(x.shape[1] - 1, device=x.device), count.unsqueeze(1)
        source = torch.where(place < last, place, place + 1).unsqueeze(-1).expand(-1, -1, x.shape[2])
        return x.gather(1, source), x.gather(1, last.unsqueeze(-1).expand(-1, -1, x.shape[2]))

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the clip vector `(B, D)`: the mean of the valid tokens, or the class token."""
        if self.config.pooling == "cls" and tokens.cls is not None:
            return tokens.cls[:, 0]
        return tokens.mean()
