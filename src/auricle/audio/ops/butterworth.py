"""Butterworth filters by their frequency response, for a batch of filters at once.

The responses are those of the digital filters that `scipy.signal.butter` designs (bilinear transform with pre-warped
edges), in closed form from the poles of the analogue prototype. Letters: B filters, K frequencies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def high_pass_response(frequencies: Tensor, cutoff: Tensor, order: Tensor, rate: int) -> Tensor:
    """Return the complex response of Butterworth high-pass filters.

    Args:
        frequencies: `(K,)` in Hz.
        cutoff: `(B,)` in Hz, where the power is halved; between 0 and half the rate, exclusive.
        order: `(B,)` integers of at least 1: 6 dB per octave each.
        rate: sample rate in Hz.

    Returns:
        `(B, K)` complex128.
    """
    sine, cosine = _angles(frequencies, rate)
    edge = _warp(cutoff, rate)[:, None]
    # s -> edge / s; numerator and denominator are multiplied by cos, so that nothing is infinite at half the rate.
    return _cascade(1j * sine, edge * cosine.to(torch.complex128), order)


def low_pass_response(frequencies: Tensor, cutoff: Tensor, order: Tensor, rate: int) -> Tensor:
    """Return the complex response of Butterworth low-pass filters.

    Args:
        frequencies: `(K,)` in Hz.
        cutoff: `(B,)` in Hz, where the power is halved; between 0 and half the rate, exclusive.
        order: `(B,)` integers of at least 1: 6 dB per octave each.
        rate: sample rate in Hz.

    Returns:
        `(B, K)` complex128.
    """
    sine, cosine = _angles(frequencies, rate)
    edge = _warp(cutoff, rate)[:, None]
    return _cascade(edge * cosine.to(torch.complex128), 1j * sine, order)


def band_stop_response(frequencies: Tensor, low: Tensor, high: Tensor, order: Tensor, rate: int) -> Tensor:
    """Return the complex response of Butterworth band-stop filters.

    Args:
        frequencies: `(K,)` in Hz.
        low: `(B,)` in Hz, the lower edge, where the power is halved; above 0.
        high: `(B,)` in Hz, the upper edge; above `low` and below half the rate.
        order: `(B,)` integers of at least 1, of the prototype: 6 dB per octave each; the filter has twice the poles.
        rate: sample rate in Hz.

    Returns:
        `(B, K)` complex128.
    """
    sine, cosine = _angles(frequencies, rate)
    left, right = _warp(low, rate)[:, None], _warp(high, rate)[:, None]
    # s -> width s / (s^2 + centre^2), multiplied by cos^2.
    notch = left * right * cosine**2 - sine**2
    return _cascade(notch.to(torch.complex128), (right - left) * 1j * sine * cosine, order)


def _angles(frequencies: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    half = math.pi * frequencies.double() / rate
    return half.sin(), half.cos()


def _warp(frequency: Tensor, rate: int) -> Tensor:
    return torch.tan(math.pi * frequency.double() / rate)


def _cascade(numerator: Tensor, denominator: Tensor, order: Tensor) -> Tensor:
    """Product over the prototype's poles p of numerator / (denominator - p numerator), for each filter's own order."""
    numerator, denominator = torch.broadcast_tensors(numerator, denominator)
    order = order.to(torch.int64)[:, None]
    response = torch.ones_like(numerator)
    for k in range(int(order.max()) if order.numel() else 0):
        angle = math.pi * (2 * k + 1 + order) / (2 * order)
        pole = torch.polar(torch.ones_like(angle, dtype=torch.float64), angle.double())
        section = numerator / (denominator - pole * numerator)
        response = torch.where(k < order, response * section, response)
    return response
