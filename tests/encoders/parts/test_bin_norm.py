from __future__ import annotations

import pytest
import torch

from auricle.encoders.parts.batch_norm import BinNorm


def clips(lengths: list[int], frames: int, pad: float = 5.0) -> torch.Tensor:
    x = torch.randn(len(lengths), frames, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    return x.masked_fill(torch.arange(frames)[None, :, None] >= torch.tensor(lengths)[:, None, None], pad)


@pytest.mark.parametrize("lengths", [[9, 9, 9], [9, 4, 1]])
def test_it_is_batch_norm_of_the_valid_frames(lengths: list[int]) -> None:
    ours, theirs = BinNorm(6).double(), torch.nn.BatchNorm1d(6, momentum=0.01).double()
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.linspace(0.5, 2, 6))
            norm.bias.copy_(torch.linspace(-1, 1, 6))
    data = clips(lengths, 9)
    for _ in range(3):
        x, y = data.clone().requires_grad_(), data.clone().requires_grad_()
        inside = torch.arange(9) < torch.tensor(lengths).unsqueeze(1)
        ours.zero_grad()
        theirs.zero_grad()
        out, expected = ours(x, torch.tensor(lengths))[inside], theirs(y[inside])
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12)
        out.pow(3).sum().backward()
        expected.pow(3).sum().backward()
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-10, atol=1e-12)
    out = ours.eval()(data, torch.tensor(lengths))
    torch.testing.assert_close(out, theirs.eval()(data.flatten(0, 1)).view_as(data), rtol=1e-10, atol=1e-12)


def test_how_far_clips_are_padded_does_not_matter() -> None:
    lengths = torch.tensor([9, 4])
    near, far = BinNorm(6).double(), BinNorm(6).double()
    data = clips([9, 4], 9)
    long = torch.cat([data, torch.full((2, 30, 6), 5.0)], 1)
    torch.testing.assert_close(near(data, lengths), far(long, lengths)[:, :9], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(near.running_var, far.running_var)


def test_a_single_frame_stays_finite() -> None:
    norm = BinNorm(6)
    assert norm(torch.randn(1, 3, 6), torch.tensor([1])).isfinite().all()
    assert norm.running_var.isfinite().all()
    norm.reset_parameters()
    assert bool((norm.running_var == 1).all())
    assert bool((norm.running_mean == 0).all())
