"""From frames at one rate to the token grid of an encoder at another."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.contract import Encoder, Grid
from auricle.errors import ConfigError

Align = Literal["index", "mean", "stack"]
# Tokens that may be missing: a stem without padding loses up to its receptive field at the end of a clip.
_SLACK = 4


def sample_grid(encoder: Encoder) -> Grid:
    """Return the token grid of about a second of input, for its rate and its tokens a time step."""
    return encoder.grid(max(encoder.least_frames, round(encoder.input_rate)))


def whole_ratio(rate: float, token_rate: float, what: str) -> int:
    """Return how many frames at `rate` (Hz) a token at `token_rate` (Hz) spans.

    Raises:
        ConfigError: the ratio is not a whole number; the rates that would fit are named.
    """
    ratio = rate / token_rate
    whole = round(ratio)
    if whole < 1 or abs(ratio - whole) > 1e-3:
        fitting = ", ".join(f"{token_rate * k:g}" for k in (1, 2, 4))
        raise ConfigError(
            f"{what} comes at {rate:g} frames per second, the encoder's tokens at {token_rate:g}: {ratio:.4g} frames a "
            f"token is not a whole number; choose a rate that is a multiple of the tokens' ({fitting} ...)"
        )
    return whole


def align_frames(x: Tensor, rate: float, grid: Grid, how: Align, what: str = "the target") -> Tensor:
    """Bring frames to the time steps of a token grid.

    Args:
        x: `(B, T', D)` frames at `rate`.
        rate: Hz.
        grid: the encoder's.
        how: `index`: every k-th frame (HuBERT); `mean`: the mean of k frames; `stack`: k frames side by side.
        what: for messages.

    Returns:
        `(B, T, D)`, or `(B, T, k * D)` for `stack`. Frames that are missing at the end repeat the last one.

    Raises:
        ConfigError: the rates do not divide, or far fewer frames came than the grid needs: with the number expected.
    """
    k = whole_ratio(rate, grid.rate, what)
    need = grid.time * k
    if x.shape[1] < need - _SLACK * k:
        raise ConfigError(
            f"{what} has {x.shape[1]} frames at {rate:g} per second for {grid.time} tokens at {grid.rate:g} per "
            f"second, expected {need}; its real rate differs from its settings: correct them"
        )
    if x.shape[1] < need:
        x = torch.cat([x, x[:, -1:].expand(-1, need - x.shape[1], -1)], 1)
    if how == "index":
        return x[:, :need:k]
    frames = x[:, :need].unflatten(1, (grid.time, k))
    return frames.mean(2) if how == "mean" else frames.flatten(2)


def patch_size(encoder: Encoder) -> tuple[int, int]:
    """Return the size `(frames, bands)` of the patch of features at each token of a spectrogram encoder.

    Raises:
        ConfigError: the encoder reads samples, or its tokens do not divide its input.
    """
    if encoder.bands is None:
        raise ConfigError(
            f"{type(encoder).__name__} reads samples: it has no patches of features to predict; predict the features "
            "of a front end (FrontEndTargetConfig)"
        )
    if encoder.bands == 0:
        raise ConfigError(
            f"{type(encoder).__name__} has no fixed number of bands, so no patches; choose another target"
        )
    grid = sample_grid(encoder)
    frames = whole_ratio(encoder.input_rate, grid.rate, "the input")
    if encoder.bands % grid.freq:
        raise ConfigError(
            f"{encoder.bands} bands do not divide into {grid.freq} rows of tokens; set the front end's mel bins to a "
            f"multiple of {grid.freq}"
        )
    return frames, encoder.bands // grid.freq


def patches(features: Features, grid: Grid, size: tuple[int, int]) -> Tensor:
    """Cut features `(B, T', F')` into the patches of tokens: `(B, N, frames * bands)`, time-major inside.

    Frames are padded with the features' own pad value, or cut, to whole tokens.
    """
    frames, bands = size
    x = features.x
    missing = grid.time * frames - x.shape[1]
    if missing > 0:
        x = F.pad(x, (0, 0, 0, missing), value=features.pad)
    x = x[:, : grid.time * frames]
    cut = x.unflatten(2, (grid.freq, bands)).unflatten(1, (grid.time, frames)).transpose(2, 3)
    return cut.reshape(x.shape[0], grid.tokens, frames * bands)
