"""Samples as Python callers hold them, turned into mono clips, or refused with the reason and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import soxr
from torch import Tensor

from auricle.audio.recording import FASTEST, LOUDEST, SLOWEST, cancelled
from auricle.errors import AudioError

# Integers whose full scale is that of a file format; a wider type holds samples of unknown scale.
_FULL_SCALE = {"int8": 2.0**7, "uint8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}
_MOST_CHANNELS = 8  # of an array (samples, channels)


def mono_clips(wave: Any) -> list[np.ndarray]:
    """Return clips as float32 samples `(S,)`; channels are averaged.

    Args:
        wave: `(S,)` one clip, `(B, S)` clips of one length, `(B, C, S)` clips of several channels, or a list of `(S,)`
            or `(C, S)` clips of any lengths. Floats are taken as they are; int8, int16, int32 and uint8 are scaled.

    Raises:
        AudioError: not samples, empty, not finite, integers of unknown scale, of shape (samples, channels), or
            channels that cancel each other.
    """
    for each in (wave, *(wave if isinstance(wave, list | tuple) else ())):
        _check_kind(each)
    if isinstance(wave, list | tuple) and len(wave) > 0 and all(np.ndim(each) == 0 for each in wave):
        wave = np.asarray(wave)
    if isinstance(wave, np.ndarray) and wave.dtype == object:
        wave = list(wave)
    if isinstance(wave, list | tuple):
        each = [_array(clip, f"clip {place}") for place, clip in enumerate(wave)]
    else:
        array = _array(wave, "the input")
        if array.ndim == 2:
            _check_axes(array, "an array")
        if array.ndim not in (1, 2, 3):
            raise AudioError(f"found an array of shape {array.shape}, expected (S,), (B, S) or (B, C, S)")
        each = [array] if array.ndim == 1 else list(array)
    if not each:
        raise AudioError("found no clips to embed, expected at least one")
    return [_mono(clip, f"clip {place}") for place, clip in enumerate(each)]


def resampled(clip: np.ndarray, rate: float, wanted: int) -> np.ndarray:
    """Return samples `(S,)` of one rate in Hz at another; at least one sample.

    Raises:
        AudioError: the rate is no rate of audio.
    """
    number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not number or not SLOWEST <= rate <= FASTEST:
        raise AudioError(
            f"found a sample rate of {rate!r} Hz, expected {SLOWEST} to {FASTEST}; pass the rate of the samples"
        )
    if rate == wanted:
        return clip
    found = soxr.resample(clip, rate, wanted, quality="HQ")
    # Too short for an output sample: one sample of silence.
    return found if found.size else np.zeros(1, np.float32)


def _check_kind(wave: Any) -> None:
    if isinstance(wave, str | PathLike):
        raise AudioError(
            f"found the path {str(wave)!r}, expected samples; read it first (wave, rate = soundfile.read(path)), or "
            "embed whole folders with auricle.embed(model, folder, out)"
        )
    if isinstance(wave, Mapping):
        keys = ", ".join(map(repr, wave))
        raise AudioError(f"found a dict of {keys}, expected samples; pass the value that holds them: wave['array']")


def _array(clip: Any, name: str) -> np.ndarray:
    if isinstance(clip, Tensor):
        clip = clip.detach().cpu()
        clip = clip.float() if clip.is_floating_point() and clip.element_size() == 2 else clip
    try:
        return np.asarray(clip)
    except (ValueError, TypeError, RuntimeError) as error:
        raise AudioError(f"{name} is no array of samples ({error}); pass one array (S,) for each clip") from error


def _check_axes(array: np.ndarray, name: str) -> None:
    if array.shape[1] <= _MOST_CHANNELS < array.shape[0]:
        raise AudioError(
            f"found {name} of shape {array.shape}, which looks like (samples, channels); pass `wave.mean(1)` for one "
            "clip, or (clips, samples) or (clips, channels, samples)"
        )


def _mono(clip: np.ndarray, name: str) -> np.ndarray:
    if clip.ndim == 2:
        _check_axes(clip, name)
    if clip.ndim not in (1, 2) or clip.size == 0:
        raise AudioError(f"{name} has shape {clip.shape}, expected at least one sample on one axis")
    clip = _scaled(clip, name)
    if not np.isfinite(clip).all():
        raise AudioError(f"{name} holds values that are not finite; repair or exclude the recording")
    peak = float(np.abs(clip).max())
    if peak > LOUDEST:
        raise AudioError(f"{name} holds samples up to {peak:.3g}, expected [-1, 1]; divide them by their full scale")
    if clip.ndim == 1:
        return clip.astype(np.float32)
    wave = clip.mean(0, dtype=np.float64)
    said = cancelled(float(np.vdot(wave, wave)), float(np.square(clip, dtype=np.float64).mean(0).sum()), len(wave))
    if said is not None:
        raise AudioError(f"the {len(clip)} channels of {name} {said}; pass one of them: wave[..., 0, :]")
    return wave.astype(np.float32)


def _scaled(clip: np.ndarray, name: str) -> np.ndarray:
    """Return samples as floats in [-1, 1]; refuse types and ranges that leave their full scale open."""
    kind = clip.dtype.name
    if np.issubdtype(clip.dtype, np.floating):
        clip = clip.astype(np.float32) if clip.dtype.itemsize < 4 else clip
        peak = float(np.abs(clip).max())
        if 1 < peak <= 2**31 and bool((clip == np.round(clip)).all()):
            raise AudioError(
                f"{name} holds whole numbers up to {peak:g} as {kind}, so integer samples; divide them by "
                "their full scale (wave / 32768 for 16 bits)"
            )
        return clip
    if kind not in _FULL_SCALE:
        raise AudioError(
            f"{name} holds {kind}, whose full scale is not known; expected floats in [-1, 1], int16, int32 or uint8; "
            "convert it (wave.astype(np.int16) for 16-bit samples)"
        )
    if kind == "uint8":
        return (clip.astype(np.float32) - 128.0) / 128.0
    peak = int(np.abs(clip.astype(np.int64)).max())
    if kind == "int32" and 0 < peak < 2**15:
        raise AudioError(
            f"{name} holds int32 up to {peak}, which is silence at the full scale of 32 bits; expected louder samples; "
            "convert 16-bit samples with wave.astype(np.int16)"
        )
    return clip / _FULL_SCALE[kind]
