"""HTS-AT: a Swin transformer on a spectrogram whose time is folded into an image.

Source: HTS-AT, arXiv 2202.00874, section 2, without its class convolution; the audio encoder of LAION's CLAP, arXiv
2211.06687. The trunk is the Swin Transformer, arXiv 2103.14030.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import Count, Positive, ShareBelowOne
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens, valid_positions
from auricle.encoders.parts.batch_norm import normalise
from auricle.encoders.parts.feature_map import FeatureMap
from auricle.encoders.parts.frame_subsampling import Frames
from auricle.encoders.parts.shifted_windows import PatchMerging, WindowBlock, WindowStage
from auricle.errors import ConfigError


@dataclass(frozen=True)
class HtsAtConfig(EncoderConfig):
    """Settings of HTS-AT.

    Sizes: `base` is the published one (27.5 M parameters; LAION calls it HTSAT-tiny), `large` LAION's HTSAT-base
    (67.8 M); `tiny` (3.1 M) and `small` (12.3 M) are narrower.

    Attributes:
        width: of the first stage; each further stage doubles it.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        window: rows and columns of an attention window; every second block shifts it by half.
        patch: rows and columns of a patch of the image.
        mels: mel bins of the input.
        bins: rows of the image to which the mel bins are resized (bicubic, as the original does with fewer than 64);
            None: the number of mel bins.
        fold: time segments stacked along frequency: bins * fold is the image's side.
        clip_frames: frames of a full image: they are resized (bicubic) to bins * fold * fold = 1024. Published:
            1001 frames, 10 s at a hop of 10 ms with half a window at each end. Set the number of frames that the front
            end makes of 10 s (1000 or 998) for the original's exact geometry, or 1024 for no resizing.
        frame_rate: frames per second of the front end.
        mlp_ratio: feed-forward width over the stage's width.
        drop_path: stochastic depth at the last block, rising linearly from 0 at the first.
        eps: of the layer norms.
    """

    width: Count = 96
    depths: tuple[Count, ...] = (2, 2, 6, 2)
    heads: tuple[Count, ...] = (4, 8, 16, 32)
    window: Count = 8
    patch: Count = 4
    mels: Count = 64
    bins: int | None = None
    fold: Count = 4
    clip_frames: Count = 1001
    frame_rate: Positive = 100.0
    mlp_ratio: Positive = 4.0
    drop_path: ShareBelowOne = 0.1
    eps: Positive = 1e-5

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 32, "heads": (2, 4, 8, 16)},
        "small": {"width": 64},
        "base": {"width": 96},
        "large": {"width": 128, "depths": (2, 2, 12, 2)},
    }

    @property
    def rows(self) -> int:
        """Rows of the image of one time segment."""
        return self.mels if self.bins is None else self.bins

    @property
    def image_frames(self) -> int:
        """Frames of a full image after resizing."""
        return self.rows * self.fold * self.fold

    def __post_init__(self) -> None:
        if not self.depths or len(self.depths) != len(self.heads):
            raise ConfigError(
                f"found depths {self.depths} and heads {self.heads}, expected one number per stage in each"
            )
        for stage, heads in enumerate(self.heads):
            if self.width * 2**stage % heads:
                raise ConfigError(
                    f"stage {stage + 1} has width {self.width * 2**stage}, expected a multiple of its {heads} heads"
                )
        last = self.patch * 2 ** (len(self.depths) - 1)
        if self.rows < self.mels:
            raise ConfigError(f"found bins {self.bins}, expected at least the {self.mels} mel bins")
        if self.rows % last:
            raise ConfigError(
                f"{self.rows} rows of mel bins must be a multiple of {last}, which a token of the last stage spans "
                f"(patch {self.patch}, {len(self.depths)} stages); set bins to such a number"
            )
        if self.window % 2:
            raise ConfigError(f"found window {self.window}, expected an even number: every second block shifts by half")
        if self.rows * self.fold // last % self.window:
            raise ConfigError(
                f"the last stage has {self.rows * self.fold // last} rows and columns, expected a multiple of the "
                f"window ({self.window}); set bins to a larger number, or change fold, patch or the number of stages"
            )
        if self.clip_frames > self.image_frames:
            raise ConfigError(f"found clip_frames {self.clip_frames}, expected at most {self.image_frames}")


class HtsAt(Encoder):
    """Batch norm per mel bin, time folded into an image, patches, four stages of shifted windows.

    `clip_frames` frames fill an image, as in the original. A shorter clip fills the first part of the image, and the
    rest counts as no content (the original repeats or pads the sound); a longer one is split into images, encoded
    separately. So every clip has the same tokens per second, and padding is exact. Windows span the seams of the fold,
    as published: near a seam tokens attend to others a quarter of the clip away.

    Layer s is the output of stage s before the next merging: half the grid and twice the width of the previous one;
    layer 0 are the patches (256 x 16 for a full clip). All are unfolded, time-major. The output is the last stage after
    its norm, 32 x 2 tokens for 10 s. Tokens can be neither dropped nor replaced (Ability.MASK): the output is eight
    times coarser than the patches, and a hidden patch has no token from which to predict it.

    `Layer.feedforward` is the branch of the stage's last block. The clip vector is the mean of the valid tokens, as the
    original's latent vector.
    """

    abilities = frozenset({Ability.EXACT_PADDING})

    def __init__(self, config: HtsAtConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.depth = len(config.depths)
        self.width = config.width * 2 ** (self.depth - 1)
        self.bands, self.input_rate = config.mels, config.frame_rate
        self.input_norm = nn.BatchNorm1d(config.mels)
        self.patch_proj = nn.Linear(config.patch**2, config.width)
        self.patch_norm = nn.LayerNorm(config.width, eps=config.eps)
        total = sum(config.depths)
        rates = (config.drop_path * number / max(total - 1, 1) for number in range(total))
        self.stages = nn.ModuleList()
        side = config.rows * config.fold // config.patch
        for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            width = config.width * 2**stage
            # One window that covers the whole image is not shifted.
            shift = config.window // 2 if side // 2**stage > config.window else 0
            hidden = int(width * config.mlp_ratio)
            self.stages.append(
                WindowStage(
                    WindowBlock(width, heads, config.window, shift * (number % 2), hidden, next(rates), config.eps)
                    for number in range(depth)
                )
            )
        self.merges = nn.ModuleList(
            PatchMerging(config.width * 2**stage, config.eps) for stage in range(len(config.depths) - 1)
        )
        self.norm = nn.LayerNorm(self.width, eps=config.eps)
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: truncated normal of std 0.02 (also the bias tables), zero biases, unit norms."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.trunc_normal_(parameter, std=0.02, a=-2.0, b=2.0, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def grid(self, frames: int) -> Grid:
        return self._grid(self._patches(frames), self.depth - 1)

    def _patches(self, frames: Frames) -> Frames:
        """Return the number of columns of patches with content: resized frames, in whole patches, per image."""
        config = self.config
        full, rest = frames // config.clip_frames, frames % config.clip_frames
        span = config.clip_frames * config.patch
        return full * (config.image_frames // config.patch) + (rest * config.image_frames + span - 1) // span

    def _grid(self, patches: int, stage: int) -> Grid:
        """Return the unfolded grid of a stage (0 ... depth - 1) for `patches` columns of patches."""
        config = self.config
        step = 2**stage
        rate = config.frame_rate * config.image_frames / config.clip_frames / config.patch / step
        return Grid(-(-patches // step), config.rows // config.patch // step, rate)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        config, lengths = self.config, features.lengths
        bins = FeatureMap.of(features.x.transpose(1, 2), lengths)
        # Padding becomes zero, the mean of a bin.
        x = normalise(self.input_norm, bins).filled(0.0).transpose(1, 2)
        B, T, M = x.shape
        rows = config.rows
        x = F.pad(x, (0, 0, 0, -T % config.clip_frames)).reshape(-1, 1, config.clip_frames, M)
        if (config.clip_frames, M) != (config.image_frames, rows):
            x = F.interpolate(x, (config.image_frames, rows), mode="bicubic", align_corners=True)
        grid = self._grid(self._patches(T), 0)
        x = x.reshape(B, -1, rows)[:, : grid.time * config.patch]
        # The pixels of a patch are ordered mel by mel, as in the image, whose rows are mel bins.
        patches = x.unflatten(2, (grid.freq, -1)).unflatten(1, (grid.time, -1)).permute(0, 1, 3, 4, 2)
        tokens = self.patch_norm(self.patch_proj(patches.reshape(B, grid.tokens, -1)))
        return Tokens(tokens, grid, valid=valid_positions(self._patches(lengths), grid.time, grid.freq))

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        self.check_layers(layers)
        self.check_all_tokens(tokens)
        patches = tokens.grid.time
        x, real = self._fold(tokens)
        seen = {0: Layer(tokens.x, tokens.grid)}
        for stage, blocks in enumerate(self.stages):
            if stage:
                x, real = self.merges[stage - 1](x, real)
            x, branch = blocks(x, real)
            if stage + 1 in layers:
                grid = self._grid(patches, stage)
                seen[stage + 1] = Layer(self._unfold(x, grid, stage), grid, self._unfold(branch, grid, stage))
        grid = self._grid(patches, self.depth - 1)
        valid = tokens.valid
        if valid is not None:
            # Content comes first: a token has some exactly if its first patch has.
            rows = valid.unflatten(1, (patches, -1))[:, :: 2 ** (self.depth - 1), : grid.freq]
            valid = None if bool(rows.all()) else rows.flatten(1)
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(
            tokens, x=self.norm(self._unfold(x, grid, self.depth - 1)), grid=grid, valid=valid, layers=hidden
        )

    def _columns(self, patches: int) -> tuple[int, int]:
        """Return (columns, folds) of the images for `patches` columns of patches: no more than the content needs."""
        side = self.config.rows * self.config.fold // self.config.patch
        folds = min(-(-patches // side), self.config.fold)
        return (side, folds) if folds > 1 else (patches, 1)

    def _fold(self, tokens: Tokens) -> tuple[Tensor, Tensor | None]:
        """Turn tokens into images `(images, folds * freq, columns, C)` and where they have content (None: all)."""
        grid = tokens.grid
        columns, folds = self._columns(grid.time)
        x = tokens.x.unflatten(1, (grid.time, grid.freq))
        missing = -grid.time % (columns * folds)
        real = None if tokens.valid is None else tokens.valid.unflatten(1, (grid.time, grid.freq))
        if missing:
            real = x.new_ones(x.shape[:3], dtype=torch.bool) if real is None else real
            x, real = F.pad(x, (0, 0, 0, 0, 0, missing)), F.pad(real, (0, 0, 0, missing))
        x = x.reshape(-1, folds, columns, grid.freq, x.shape[3]).transpose(2, 3).flatten(1, 2)
        if real is not None:
            real = real.reshape(-1, folds, columns, grid.freq).transpose(2, 3).flatten(1, 2)
        return x, real

    def _unfold(self, x: Tensor, grid: Grid, stage: int) -> Tensor:
        """Turn a stage's images back into tokens `(B, N, C)`, time-major, without the padding."""
        folds = x.shape[1] // grid.freq
        x = x.unflatten(1, (folds, grid.freq)).transpose(2, 3)
        images = -(-grid.time // (folds * x.shape[2]))
        return x.reshape(-1, images * folds * x.shape[2], grid.freq, x.shape[4])[:, : grid.time].flatten(1, 2)
