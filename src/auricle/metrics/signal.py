"""Signals: mel-cepstral distortion of spectra, and SI-SDR of waveforms.

Letters in shapes: T frames, M cepstral coefficients, S samples.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.metrics.warping import warping_cost
from auricle.metrics.weights import Floats

Alignment = Literal["none", "dtw"]

DECIBEL = 10.0 / math.log(10.0) * math.sqrt(2.0)


def mel_cepstral_distortion(
    reference: np.ndarray, estimated: np.ndarray, *, alignment: Alignment = "none", level: bool = False
) -> float:
    """Return the mel-cepstral distortion in dB (Kubichek, 1993): 10 / ln 10 * sqrt(2 * sum of squared differences).

    The mean over frames. The cepstra are those of natural-log mel spectra with an orthonormal cosine transform, or of
    mel-cepstral analysis; other scalings give other numbers.

    Args:
        reference: `(T, M)` cepstra, coefficient 0 (the level) first.
        estimated: `(T', M)` cepstra.
        alignment: `none`: frame by frame, T' = T; `dtw`: along the cheapest warping path, mean over its steps.
        level: count coefficient 0 too; usually left out.

    Returns:
        Decibels >= 0; NaN where one side has no frames.

    Raises:
        ConfigError: shapes don't fit, values not finite, unknown alignment.
    """
    true, said = (np.asarray(c, dtype=np.float64) for c in (reference, estimated))
    if alignment not in get_args(Alignment):
        raise ConfigError(f"unknown alignment {alignment!r}{nearest(alignment, get_args(Alignment))}")
    least = 1 if level else 2
    if true.ndim != 2 or said.ndim != 2 or true.shape[1] != said.shape[1] or true.shape[1] < least:
        raise ConfigError(f"cepstra of shapes {true.shape} and {said.shape}; expected (T, M) and (T', M), M >= {least}")
    if alignment == "none" and len(true) != len(said):
        raise ConfigError(f"{len(true)} and {len(said)} frames; expected equally many, or alignment 'dtw'")
    if not (np.isfinite(true).all() and np.isfinite(said).all()):
        raise ConfigError("cepstra hold values that are not finite; a logarithm of silence needs a floor")
    if not len(true) or not len(said):
        return math.nan
    if not level:
        true, said = true[:, 1:], said[:, 1:]
    if alignment == "none":
        return float(DECIBEL * np.sqrt(((true - said) ** 2).sum(1)).mean())
    distances = np.sqrt(((true[:, None] - said[None]) ** 2).sum(2))
    cost, steps = warping_cost(distances[None], np.array([len(true)]), np.array([len(said)]))
    return float(DECIBEL * cost[0] / steps[0])


def si_sdr(reference: np.ndarray, estimated: np.ndarray, *, centre: bool = False) -> Floats:
    """Return the scale-invariant signal-to-distortion ratio in dB (Le Roux, Wisdom, Erdogan and Hershey, 2019).

    The estimate's part along the reference over the rest of it.

    Args:
        reference: `(..., S)` waveforms.
        estimated: `(..., S)` waveforms.
        centre: subtract each waveform's mean first.

    Returns:
        `(...)`: infinite for a scaled copy, -infinite for an orthogonal estimate; NaN where the reference or the
        estimate is silent, or S = 0.

    Raises:
        ConfigError: shapes differ, or a sample is not finite.
    """
    true, said = (np.asarray(w, dtype=np.float64) for w in (reference, estimated))
    if true.ndim < 1 or true.shape != said.shape:
        raise ConfigError(f"waveforms of shapes {true.shape} and {said.shape}; expected the same (..., S)")
    if not (np.isfinite(true).all() and np.isfinite(said).all()):
        raise ConfigError("waveforms hold samples that are not finite")
    if not true.shape[-1]:
        return np.full(true.shape[:-1], math.nan)
    if centre:
        true, said = true - true.mean(-1, keepdims=True), said - said.mean(-1, keepdims=True)
    energy = (true**2).sum(-1)
    scale = np.divide((true * said).sum(-1), energy, out=np.zeros_like(energy), where=energy > 0)
    target = scale[..., None] * true
    kept, lost = (target**2).sum(-1), ((said - target) ** 2).sum(-1)
    sounding = (energy > 0) & ((said**2).sum(-1) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * np.log10(kept / lost)
    return np.where(sounding, ratio, math.nan)
