"""Codes of a fixed random projection as a target: BEST-RQ's, MusicFM's, and BEATs' first iteration's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.config import Count
from auricle.encoders.contract import Encoder, Grid
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation, View, clean_audio
from auricle.objectives.targets.alignment import align_frames, patch_size, patches, sample_grid, whole_ratio
from auricle.objectives.targets.random_projection import InputNorm, RandomProjectionQuantiser, choose_projection_seed
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig

# Tokens that a projection's seed is chosen on.
_ENOUGH = 10_000


@dataclass(frozen=True)
class RandomProjectionTargetConfig(TargetConfig):
    """The code of each token's patch, by a projection and a codebook that are never trained.

    A token's patch is its part of the clean view's features: the stack of four frames of a BEST-RQ token (arXiv
    2202.01855, section 3.1), the 16 x 16 patch of a BEATs token (2212.09058, section 3.2). The number of codes that
    real audio uses depends on the normalisation of the input, and by a factor of three on the seed of the projection.

    Attributes:
        codes: K, codes in a codebook; 8192 in BEST-RQ, 4096 in MusicFM, 1024 in BEATs.
        dim: width of a projected vector; 16, in BEATs 256.
        codebooks: G, each with its own projection.
        seed: of projection and codebook.
        seeds: number of seeds to try, from `seed` on, before the first step: the one whose codes have the greatest
            perplexity on some thousand tokens of the corpus is kept. 1: `seed` only.
        norm: normalisation of each clip's vectors before the projection, see `RandomProjectionQuantiser`.
        source: `input`: the features that the encoder reads; `wave`: those that `frontend` makes of the clean waveform
            behind the view; `either`: `wave` where the encoder reads samples, else `input`.
        frontend: for `wave`; its frame rate must be a multiple of the token rate.
    """

    codes: Count = 8192
    dim: Count = 16
    codebooks: Count = 1
    seed: int = 0
    seeds: Count = 1
    norm: InputNorm = "clip_channels"
    source: Literal["input", "wave", "either"] = "either"
    frontend: FrontEndConfig = field(
        default_factory=lambda: LogMelConfig(mels=80, n_fft=512, window=400, low=0.0, high=8000.0)
    )


class RandomProjectionTarget(Target):
    """Codes `(B, N, codebooks)` int64 of the clean view.

    Attributes:
        quantiser: projection and codebook, in buffers: a checkpoint holds the chosen ones.
    """

    lifecycle: ClassVar[Lifecycle] = "formula"

    def __init__(self, config: RandomProjectionTargetConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.size, self.codebooks = config.codes, config.codebooks
        wave = config.source == "wave" or (config.source == "either" and not encoder.bands)
        self.stretch = _WavePatches(config.frontend.build(), encoder) if wave else _Patches(encoder)
        self.quantiser = self._quantiser(config.seed)

    @property
    def prepares(self) -> bool:
        return self.config.seeds > 1

    def _quantiser(self, seed: int) -> RandomProjectionQuantiser:
        config = self.config
        return RandomProjectionQuantiser(
            self.stretch.width, config.codes, config.dim, seed, config.codebooks, config.norm
        )

    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        codes: Tensor = self.quantiser(self.stretch(masked_batch.clean, masked_batch.grid), masked_batch.valid)
        return codes

    @torch.no_grad()
    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        config = self.config
        if config.seeds == 1:
            return
        batches: list[tuple[Tensor, Tensor | None]] = []
        device, training = self.quantiser.codebook.device, encoder.training
        encoder.eval()
        found = 0
        for view in preparation.views(preparation.clips):
            reference = None if view.reference is None else view.reference.to(device)
            view = replace(view, features=view.features.to(device), reference=reference)
            grid, tokens = encoder.grid(view.features.x.shape[1]), encoder.tokenize(view.features)
            vectors = self.stretch(view, grid)
            # Where convolutions coarsen the grid later, padding is not known here; a few padded tokens matter little.
            valid = tokens.valid if tokens.grid == grid else None
            batches.append((vectors, valid))
            found += int(vectors.shape[:2].numel() if valid is None else valid.sum())
            if found >= _ENOUGH:
                break
        encoder.train(training)
        seeds = range(config.seed, config.seed + config.seeds)
        choice = choose_projection_seed(batches, config.codes, config.dim, config.codebooks, config.norm, seeds)
        self.quantiser.load_state_dict(self._quantiser(choice.seed).state_dict())
        tried = ", ".join(f"{seed}: {value:.0f}" for seed, value in choice.perplexities.items())
        preparation.note(
            f"random projection: seed {choice.seed} of {config.seeds}, whose {config.codes} codes have the greatest "
            f"perplexity on {found} tokens ({tried})"
        )


class _Patches(nn.Module):
    """The tokens' patches of the features that the encoder reads."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.patch = patch_size(encoder)
        self.width = self.patch[0] * self.patch[1]

    def forward(self, view: View, grid: Grid) -> Tensor:
        features = view.features
        missing = grid.time * self.patch[0] - features.x.shape[1]
        if missing > 0:
            # Repeated, because a pad value far from all others would change the statistics of the whole clip.
            x = torch.cat([features.x, features.x[:, -1:].expand(-1, missing, -1)], 1)
            features = replace(features, x=x)
        return patches(features, grid, self.patch)


class _WavePatches(nn.Module):
    """The tokens' patches of the features that a front end makes of the clean waveform."""

    def __init__(self, frontend: FrontEnd, encoder: Encoder) -> None:
        super().__init__()
        self.frontend = frontend
        grid = sample_grid(encoder)
        ratio = whole_ratio(frontend.frame_rate, grid.rate, "the target's front end")
        if frontend.width % grid.freq:
            raise ConfigError(
                f"the target's front end has {frontend.width} bands, which do not divide into the {grid.freq} rows of "
                f"tokens of {type(encoder).__name__}; set the target's mel bins to a multiple of {grid.freq}"
            )
        self.width = ratio * frontend.width // grid.freq

    def forward(self, view: View, grid: Grid) -> Tensor:
        features: Features = self.frontend(clean_audio(view, "RandomProjectionTargetConfig"))
        stacked = align_frames(features.x, self.frontend.frame_rate, grid, "stack")
        frames = stacked.shape[2] // self.frontend.width
        # (B, T, frames, F, bands of a row) -> rows of tokens, time-major inside, as in `patches`.
        cut = stacked.unflatten(2, (frames, grid.freq, -1)).transpose(2, 3)
        return cut.reshape(len(view), grid.tokens, self.width)
