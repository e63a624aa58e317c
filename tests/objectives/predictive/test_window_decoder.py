from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid, Tokens
from auricle.encoders.parts.shifted_windows import WindowAttention
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.window_decoder import (
    CosineWindowAttention,
    CosineWindowBlock,
    WindowDecoderConfig,
)

Score = Callable[[WindowAttention, int, Tensor, Tensor, int, int], Tensor]
ENCODER = SpectrogramTransformerConfig(
    width=16, depth=1, heads=2, mels=64, frames=192, patch_norm=False, pre_norm=False, final="norm", pooling="mean"
)


def plain_score(attention: WindowAttention, head: int, q: Tensor, k: Tensor, down: int, along: int) -> Tensor:
    window = attention.window
    bias = attention.table[(down + window - 1) * (2 * window - 1) + along + window - 1, head]
    return (q * k).sum() / len(q) ** 0.5 + bias


def cosine_score(attention: WindowAttention, head: int, q: Tensor, k: Tensor, down: int, along: int) -> Tensor:
    """The cosine over the head's temperature, and the head's output of the map of log-spaced offsets."""
    assert isinstance(attention, CosineWindowAttention)
    steps = torch.tensor([math.copysign(math.log(1 + abs(step)), step) for step in (down, along)]).double()
    hidden = (attention.offset_hidden.weight @ steps + attention.offset_hidden.bias).clamp(min=0)
    bias = attention.offset_bias.weight[head] @ hidden + attention.offset_bias.bias[head]
    return (q @ k) / (q.norm() * k.norm()) / attention.tau[head].clamp(min=0.01) + bias


def oracle(attention: WindowAttention, x: Tensor, shift: tuple[int, int], score: Score) -> Tensor:
    """Token by token: who shares a window is decided by where the window edges lie, not by rolling."""
    _, rows, columns, width = x.shape
    window, heads = attention.window, attention.heads
    size = width // heads
    q, k, v = attention.qkv(x[0]).reshape(rows, columns, 3, heads, size).unbind(2)
    made = torch.zeros(rows, columns, width, dtype=x.dtype)

    def box(r: int, c: int) -> tuple[int, int]:
        return (r - shift[0]) // window, (c - shift[1]) // window

    def inside(r: int, c: int) -> tuple[int, int]:
        return (r - shift[0]) % window, (c - shift[1]) % window

    for r in range(rows):
        for c in range(columns):
            others = [(i, j) for i in range(rows) for j in range(columns) if box(i, j) == box(r, c)]
            for h in range(heads):
                scores = []
                for i, j in others:
                    down, along = (a - b for a, b in zip(inside(r, c), inside(i, j), strict=True))
                    scores.append(score(attention, h, q[r, c, h], k[i, j, h], down, along))
                weight = torch.stack(scores).softmax(0)
                made[r, c, h * size : (h + 1) * size] = sum(
                    w * v[i, j, h] for w, (i, j) in zip(weight, others, strict=True)
                )
    return attention.proj(made)[None]


@pytest.mark.parametrize("shift", [(2, 0), (0, 0), (1, 3), (0, 2)])
@pytest.mark.parametrize("size", [(8, 4), (7, 5)])
def test_windows_shifted_on_one_axis_are_those_of_a_slow_oracle(shift: tuple[int, int], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention = WindowAttention(8, 2, 4, shift).double()
    torch.nn.init.normal_(attention.table)
    x = torch.randn(1, *size, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(x), oracle(attention, x, shift, plain_score))


@pytest.mark.parametrize(("shift", "size"), [((2, 0), (7, 5)), ((0, 0), (8, 4))])
def test_cosines_and_biases_from_offsets_are_those_of_a_slow_oracle(
    shift: tuple[int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    attention = CosineWindowAttention(8, 2, 4, shift, bias_dropout=0.5).double().eval()
    torch.nn.init.uniform_(attention.tau, -0.1, 0.5)
    x = torch.randn(1, *size, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(x), oracle(attention, x, shift, cosine_score), rtol=0, atol=1e-7)
    attention.train()
    assert float((attention(x) - attention(x)).abs().max()) > 1e-6


def test_norms_come_after_each_branch() -> None:
    block = CosineWindowBlock(8, 2, 4, 0, 16, bias_dropout=0.0)
    for norm in (block.norm1, block.norm2):
        torch.nn.init.zeros_(norm.weight)
        torch.nn.init.zeros_(norm.bias)
    x = torch.randn(1, 4, 4, 8)
    torch.testing.assert_close(block(x)[0], x)


def decoder_out(frames: int, keep: int | None) -> Tokens:
    torch.manual_seed(1)
    grid = Grid(frames, 4, 6.25)
    x = torch.randn(2, grid.tokens if keep is None else keep, 16)
    if keep is None:
        return Tokens(x, grid)
    index = torch.stack([torch.randperm(grid.tokens)[:keep].sort().values for _ in range(2)])
    return Tokens(x, grid, index=index, cls=torch.randn(2, 1, 16))


def test_every_second_block_is_shifted_in_time_only() -> None:
    decoder = WindowDecoderConfig(width=32, depth=4, heads=4).build(ENCODER.build(), torch.Generator().manual_seed(0))
    assert [block.attention.shift for block in decoder.blocks] == [(0, 0), (2, 0), (0, 0), (2, 0)]  # type: ignore[union-attr]
    paper = WindowDecoderConfig()
    assert (paper.width, paper.depth, paper.heads, paper.window, paper.shift) == (512, 16, 16, 4, (2, 0))


def test_hidden_tokens_go_to_their_places_and_no_further_than_windows_reach() -> None:
    decoder = WindowDecoderConfig(width=32, depth=2, heads=4).build(ENCODER.build(), torch.Generator().manual_seed(0))
    decoder.eval()
    out = decoder_out(16, 20)
    made = decoder(out)
    assert made.x.shape == (2, 64, 32)
    assert made.cls is None
    assert made.index is None
    place = int(out.index[0, 3])  # type: ignore[index]
    x = out.x.clone()
    x[0, 3] += 1.0
    changed = (decoder(Tokens(x, out.grid, index=out.index)).x - made.x).abs().amax(2) > 1e-6
    assert not bool(changed[1].any())
    steps = changed[0].view(16, 4).any(1).nonzero().flatten()
    # A window of 4 steps, then one that is shifted by 2: the block's window and its two neighbours at most.
    first = place // 4 // 4 * 4
    assert int(steps.min()) >= first - 2
    assert int(steps.max()) <= first + 5
    assert bool(changed[0, place])


@pytest.mark.parametrize(
    "config", [WindowDecoderConfig(width=16, depth=2, heads=2), TransformerDecoderConfig(width=16, depth=2, heads=2)]
)
def test_padding_is_not_attended_to(config: WindowDecoderConfig | TransformerDecoderConfig) -> None:
    decoder = config.build(ENCODER.build(), torch.Generator().manual_seed(0)).double().eval()
    out = decoder_out(6, None)
    whole = Tokens(out.x.double(), out.grid)
    alone = decoder(whole)
    longer = torch.cat([whole.x, torch.randn(2, 12, 16, dtype=torch.float64)], 1)
    valid = torch.arange(36).expand(2, -1) < 24
    padded = decoder(Tokens(longer, Grid(9, 4, 6.25)), valid)
    torch.testing.assert_close(padded.x[:, :24], alone.x)
    blind = decoder(Tokens(longer, Grid(9, 4, 6.25)))
    assert float((blind.x[:, :24] - alone.x).abs().max()) > 1e-3


@pytest.mark.parametrize(
    "config", [WindowDecoderConfig(width=16, depth=2, heads=2), TransformerDecoderConfig(width=16, depth=1, heads=2)]
)
def test_every_parameter_learns_on_padded_clips(config: WindowDecoderConfig) -> None:
    encoder = ENCODER.build()
    objective = MaskedPredictionConfig(mask=RandomMask(0.75), decoder=config).build(encoder)
    lengths = torch.tensor([192, 100, 150])
    x = torch.randn(3, 192, 64) * (torch.arange(192) < lengths[:, None])[..., None]
    loss = objective(encoder, [View(Features(x, lengths, 100.0), torch.arange(3))], torch.Generator().manual_seed(0))
    loss.total.backward()
    named = [*encoder.named_parameters(), *objective.named_parameters()]
    assert [n for n, p in named if p.grad is None or not bool(p.grad.any())] == []


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="multiple of the heads"):
        WindowDecoderConfig(width=30, heads=4)
    with pytest.raises(ConfigError, match="shifted by"):
        WindowDecoderConfig(shift=(4, 0))
