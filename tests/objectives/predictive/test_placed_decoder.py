"""Decoders with other positions and blocks, against a slow computation of their parts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.encoders.contract import Grid, Tokens
from auricle.encoders.parts.positions import sincos_grid, sinusoid_table
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.predictive.placed_decoder import PlacedDecoder, PlacedDecoderConfig

TIME, BANDS = 5, 2
ENCODER = layout("eat", "tiny", width=16, depth=1, heads=2, frames=16 * TIME, mels=16 * BANDS)


def made(positions: str, width: int = 24, **changes: object) -> PlacedDecoder:
    config = PlacedDecoderConfig(width, 2, 4, positions=positions, **changes)  # type: ignore[arg-type]
    return config.build(ENCODER.build(), torch.Generator().manual_seed(1)).double()


def tokens(time: int = TIME, cls: int = 1) -> Tokens:
    draw = torch.Generator().manual_seed(2)
    index = torch.tensor([[0, 3, 4], [1, 2, 2 * time - 1]])
    x, first = (torch.randn(2, n, 16, generator=draw, dtype=torch.float64) for n in (3, cls))
    return Tokens(x, Grid(time, BANDS, 6.25), index=index, cls=first)


def slow_block(block: torch.nn.Module, x: Tensor) -> Tensor:
    """One post-norm block with gated attention, clip by clip and head by head."""
    rows = []
    for row in x:
        q, k, v = F.linear(row, block.qkv.weight, block.qkv.bias).chunk(3, 1)
        heads = []
        for h in range(block.heads):
            part = slice(h * q.shape[1] // block.heads, (h + 1) * q.shape[1] // block.heads)
            scores = q[:, part] @ k[:, part].T / (q[:, part].shape[1] ** 0.5)
            heads.append(scores.softmax(1) @ v[:, part])
        attended = torch.cat(heads, 1)
        if block.gate is not None:
            attended = attended / (1 + torch.exp(-F.linear(row, block.gate.weight, block.gate.bias)))
        row = block.norm1(row + block.proj(attended))
        rows.append(block.norm2(row + block.fc2(F.gelu(block.fc1(row)))))
    return torch.stack(rows)


def test_gated_post_norm_blocks_without_class_token() -> None:
    decoder, seen = made("learned_sincos", 16, block_norm="post", gate=True, cls=False), tokens()
    with torch.no_grad():
        for p in decoder.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3), dtype=p.dtype)
    out = decoder(seen)
    assert out.cls is None
    x = decoder.mask_token.expand(2, TIME * BANDS, -1).clone()
    for row in range(2):
        # As wide as the encoder: no projection.
        x[row, seen.index[row]] = seen.x[row]
    x = x + decoder.positions.reshape(TIME * BANDS, -1)
    for block in decoder.blocks:
        x = slow_block(block, x)
    torch.testing.assert_close(out.x, x)


@pytest.mark.parametrize(
    ("positions", "table"),
    [
        ("learned_zero", torch.zeros(TIME * BANDS, 24)),
        ("learned_sincos", sincos_grid(TIME, BANDS, 24).float()),
        ("sinusoid", sinusoid_table(TIME * BANDS, 24)),
        ("sinusoid_bands", torch.stack([sinusoid_table(10, 24)[f * TIME + t] for t in range(5) for f in range(2)])),
    ],
)
def test_positions(positions: str, table: Tensor) -> None:
    decoder = made(positions)
    (found,) = decoder._table(Grid(TIME, BANDS, 6.25))
    torch.testing.assert_close(found, table.double())
    assert found.requires_grad == positions.startswith("learned")
    assert decoder(tokens(3)).x.shape == (2, 6, 24)


def test_the_transposed_grid_is_one_of_learned_sincos_only() -> None:
    decoder = made("learned_sincos", position_grid="released")
    torch.testing.assert_close(
        decoder._table(Grid(TIME, BANDS, 6.25))[0], sincos_grid(BANDS, TIME, 24).float().double()
    )
    for positions in ("learned_zero", "sinusoid", "sinusoid_bands"):
        with pytest.raises(
            ConfigError, match=r"position_grid to true, or objective\.decoder\.positions to learned_sin"
        ):
            PlacedDecoderConfig(24, 2, 4, positions=positions, position_grid="released")


def test_a_norm_in_front_and_dropout_in_training_only() -> None:
    decoder = made("sinusoid", pre_norm=True, block_norm="post", dropout=0.5)
    placed = decoder.eval()._placed(tokens())
    torch.testing.assert_close(placed.mean(-1), torch.zeros(2, TIME * BANDS, dtype=torch.float64))
    assert torch.equal(placed, decoder._placed(tokens()))
    assert (decoder.train()._placed(tokens()) == 0).any()
    assert torch.equal(decoder.norm(placed), placed)


def test_learned_positions_of_an_encoder_without_a_longest_input() -> None:
    encoder = WaveformTransformerConfig.size("tiny").build()
    decoder = PlacedDecoderConfig(width=24, depth=1, heads=4).build(encoder, torch.Generator())
    steps = encoder.grid(60 * 16_000).time
    assert decoder.positions.shape == (1, steps, 1, 24)
    assert decoder._table(Grid(steps, 1, 50.0)).shape == (1, steps, 24)
    with pytest.raises(ConfigError, match=r"shorter windows.*objective\.decoder\.positions to sinusoid"):
        decoder._table(Grid(steps + 1, 1, 50.0))
    other = PlacedDecoderConfig(width=24, depth=1, heads=4, positions="sinusoid").build(encoder, torch.Generator())
    assert other._table(Grid(steps + 1, 1, 50.0)).shape == (1, steps + 1, 24)


def test_an_encoder_with_gates() -> None:
    gated = ENCODER.replace(attention_gate=True, eps=1e-5).build().double()
    assert isinstance(gated, SpectrogramTransformer)
    (block,) = gated.blocks
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(block(x)[0], slow_block(block, x))
