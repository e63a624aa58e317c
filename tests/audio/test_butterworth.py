from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch

from auricle.audio.ops.butterworth import band_stop_response, high_pass_response

RATE = 16000
FREQUENCIES = np.linspace(0, RATE / 2, 257)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("cutoff", [20.0, 313.7, 2400.0, 7999.2])
def test_high_pass_is_scipys(order: int, cutoff: float):
    sos = scipy.signal.butter(order, cutoff, "highpass", fs=RATE, output="sos")
    _, expected = scipy.signal.sosfreqz(sos, FREQUENCIES, fs=RATE)
    found = high_pass_response(
        torch.from_numpy(FREQUENCIES), torch.tensor([cutoff], dtype=torch.float64), torch.tensor([order]), RATE
    )[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(("low", "high"), [(1.0, 399.0), (900.0, 1500.0), (20.0, 7999.2)])
def test_band_stop_is_scipys(order: int, low: float, high: float):
    # Zeros and poles, since second-order sections of very wide stop-bands lose digits.
    zpk = scipy.signal.butter(order, [low, high], "bandstop", fs=RATE, output="zpk")
    _, expected = scipy.signal.freqz_zpk(*zpk, FREQUENCIES, fs=RATE)
    arguments = torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64)
    found = band_stop_response(torch.from_numpy(FREQUENCIES), *arguments, torch.tensor([order]), RATE)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_filters_of_a_batch_have_their_own_order():
    cutoff, order = torch.tensor([100.0, 500.0, 2000.0]), torch.tensor([2, 4, 3])
    frequencies = torch.from_numpy(FREQUENCIES)
    together = high_pass_response(frequencies, cutoff, order, RATE)
    for row, c, o in zip(together, cutoff, order, strict=True):
        torch.testing.assert_close(row, high_pass_response(frequencies, c[None], o[None], RATE)[0])


def test_power_at_the_edges_is_halved():
    edge = torch.tensor([700.0], dtype=torch.float64)
    assert high_pass_response(edge, edge, torch.tensor([3]), RATE).abs().square().item() == pytest.approx(0.5)
    ends = torch.tensor([300.0, 700.0], dtype=torch.float64)
    power = band_stop_response(ends, ends[:1], ends[1:], torch.tensor([2]), RATE).abs().square()
    assert power[0].tolist() == pytest.approx([0.5, 0.5])
