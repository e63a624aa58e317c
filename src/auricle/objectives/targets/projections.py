"""Codes of a fixed random projection as a target: BEST-RQ's, MusicFM's, and BEATs' first iteration's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.config import nearest
from auricle.encoders.contract import Encoder, Grid
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation, View
from auricle.objectives.targets.alignment import align_frames, patch_size, patches, whole_ratio
from auricle.objectives.targets.random_projection import InputNorm, RandomProjectionQuantiser, choose_projection_seed
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig

Source = Literal["input", "wave", "either"]

# Tokens that a projection's seed is chosen on.
_ENOUGH = 10_000


@dataclass(frozen=True)
class RandomProjectionTargetConfig(TargetConfig):
    """The code of what each token stands for, by a projection and a codebook that are never trained.

    What a token stands for is its patch of the clean view's features: the stack of four frames of a BEST-RQ token
    (arXiv 2202.01855, section 3.1), the 16 x 16 patch of a BEATs token (2212.09058, section 3.2). The normalisation of
    the input decides how many codes real audio uses at all, and the seed of the projection moves that number by a
    factor of three.

    Attributes:
        codes: K, codes in a book; 8192 in BEST-RQ, 4096 in MusicFM, 1024 in BEATs.
        dim: size of a projected vector; 16, in BEATs 256.
        books: G, projections with codebooks of their own.
        seed: of projection and codebook.
        seeds: how many seeds to try, from `seed` on, before the first step: the one whose codes have the greatest
            perplexity on some thousand tokens of the corpus is kept. 1: none but `seed`.
        norm: how each clip's vectors are normalised before the projection, see `RandomProjectionQuantiser`.
        source: `input`: the features that the encoder reads; `wave`: those that `frontend` makes of the clean waveform
            behind the view; `either`: the features, where the encoder reads samples the waveform's.
        frontend: for `wave`; its frame rate must be a multiple of the token rate.
    """

    codes: int = 8192
    dim: int = 16
    books: int = 1
    seed: int = 0
    seeds: int = 1
    norm: InputNorm = "clip_channels"
    source: Source = "either"
    frontend: FrontEndConfig = field(
        default_factory=lambda: LogMelConfig(mels=80, n_fft=512, window=400, low=0.0, high=8000.0)
    )

    def __post_init__(self) -> None:
        for name in ("codes", "dim", "books", "seeds"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"RandomProjectionTargetConfig: found {name}={getattr(self, name)}, expected 1 or more"
                )
        for name, known in (("norm", get_args(InputNorm)), ("source", get_args(Source))):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(f"unknown {name} {value!r}{nearest(str(value), known)}")


class RandomProjectionTarget(Target):
    """Codes `(B, N, books)` int64 of the clean view.

    Attributes:
        quantiser: projection and codebook, in buffers: a checkpoint holds the ones that were chosen.
    """

    lifecycle: ClassVar[Lifecycle] = "formula"

    def __init__(self, config: RandomProjectionTargetConfig, encoder: Encoder) -> None:
        super().__init__()
        self.config = config
        self.size, self.books, self.prepares = config.codes, config.books, config.seeds > 1
        self.stretch = _stretch(config, encoder)
        self.quantiser = RandomProjectionQuantiser(
            self.stretch.width, config.codes, config.dim, config.seed, config.books, config.norm
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
            # Where convolutions coarsen the grid later on, padding is not known here; a few tokens of it matter little.
            valid = tokens.valid if tokens.grid == grid else None
            batches.append((vectors, valid))
            found += int(vectors.shape[:2].numel() if valid is None else valid.sum())
            if found >= _ENOUGH:
                break
        encoder.train(training)
        seeds = range(config.seed, config.seed + config.seeds)
        choice = choose_projection_seed(batches, config.codes, config.dim, config.books, config.norm, seeds)
        chosen = RandomProjectionQuantiser(
            self.stretch.width, config.codes, config.dim, choice.seed, config.books, config.norm
        )
        self.quantiser.load_state_dict(chosen.state_dict())
        tried = ", ".join(f"{seed}: {value:.0f}" for seed, value in choice.perplexities.items())
        preparation.note(
            f"random projection: seed {choice.seed} of {config.seeds}, whose {config.codes} codes have the greatest "
            f"perplexity on {found} tokens ({tried})"
        )


class _Patches(nn.Module):
    """What tokens stand for in the features that the encoder reads."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.patch = patch_size(encoder)
        self.width = self.patch[0] * self.patch[1]

    def forward(self, view: View, grid: Grid) -> Tensor:
        features = view.features
        missing = grid.time * self.patch[0] - features.x.shape[1]
        if missing > 0:
            # A pad value far from all others would move the statistics of the whole clip.
            x = torch.cat([features.x, features.x[:, -1:].expand(-1, missing, -1)], 1)
            features = replace(features, x=x)
        return patches(features, grid, self.patch)


class _WavePatches(nn.Module):
    """What tokens stand for in the features that a front end makes of the clean waveform."""

    def __init__(self, frontend: FrontEnd, encoder: Encoder) -> None:
        super().__init__()
        self.frontend = frontend
        grid = encoder.grid(max(encoder.least_frames, round(encoder.input_rate)))
        ratio = whole_ratio(frontend.frame_rate, grid.rate, "the target's front end")
        if frontend.width % grid.freq:
            raise ConfigError(
                f"the target's front end has {frontend.width} bands, which do not divide into the {grid.freq} rows of "
                f"tokens of {type(encoder).__name__}; set the target's mel bins to a multiple of {grid.freq}"
            )
        self.width = ratio * frontend.width // grid.freq

    def forward(self, view: View, grid: Grid) -> Tensor:
        if view.reference is None:
            raise ConfigError(
                "the codes are computed from the clean waveform, and the view was moved or stretched in time; choose "
                "an augmentation that keeps time (PlainViewsConfig, or a plan without rolling and stretching)"
            )
        features: Features = self.frontend(view.reference)
        stacked = align_frames(features.x, self.frontend.frame_rate, grid, "stack")
        frames = stacked.shape[2] // self.frontend.width
        # (B, T, frames, F, bands of a row) -> rows of tokens, time-major inside, as `patches` has it.
        cut = stacked.unflatten(2, (frames, grid.freq, -1)).transpose(2, 3)
        return cut.reshape(len(view), grid.tokens, self.width)


def _stretch(config: RandomProjectionTargetConfig, encoder: Encoder) -> _Patches | _WavePatches:
    """Return what cuts out the stretch of features that a token stands for."""
    if config.source == "wave" or (config.source == "either" and not encoder.bands):
        return _WavePatches(config.frontend.build(), encoder)
    return _Patches(encoder)
