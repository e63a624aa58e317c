"""Options of the spectrogram transformer, each by itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.positions import sincos_grid, sinusoid_table
from auricle.encoders.parts.spectrogram_patches import concatenate_frequency
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError

SMALL = SpectrogramTransformerConfig(width=24, depth=3, heads=2, mels=32, frames=128, drop_path=0.0)
FRAMES = SMALL.replace(patch=(1, 32), cls=False, pooling="mean")


def features(frames: int = 128, lengths: list[int] | None = None) -> Features:
    x = torch.randn(2, frames, 32, generator=torch.Generator().manual_seed(0))
    length = torch.tensor(lengths or [frames, frames])
    x = x.masked_fill(torch.arange(frames)[None, :, None] >= length[:, None, None], 0.467)
    return Features(x, length, 100.0, 0.467)


def test_sinusoid_against_a_loop() -> None:
    table = sinusoid_table(5, 12)
    for place in range(5):
        for channel in range(12):
            angle = place / 10000 ** (2 * (channel // 2) / 12)
            expected = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
            assert float(table[place, channel]) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ConfigError, match="expected an even one"):
        sinusoid_table(3, 5)


@pytest.mark.parametrize(
    ("config", "table"),
    [
        (SMALL.replace(positions="sincos", class_tokens=2), sincos_grid(8, 2, 24)),
        (FRAMES.replace(positions="sinusoid"), sinusoid_table(128, 24)),
    ],
)
def test_fixed_positions(config: SpectrogramTransformerConfig, table: Tensor) -> None:
    encoder = config.build()
    assert "positions" not in encoder.state_dict()
    tokens = encoder.tokenize(features(64))
    assert tokens.positions is not None
    torch.testing.assert_close(tokens.positions[0], table[: tokens.grid.tokens].float())
    torch.testing.assert_close(
        tokens.x, encoder.patch_norm(encoder.patch_proj(_patches(encoder, 64))) + tokens.positions
    )
    if tokens.cls is not None:  # it has no place
        assert encoder.cls_token is not None
        assert torch.equal(tokens.cls, encoder.cls_token.expand(2, -1, -1))
    # A formula holds for any length: the same weights serve longer inputs.
    config.replace(frames=256).build().load_state_dict(encoder.state_dict())


def _patches(encoder: torch.nn.Module, frames: int) -> Tensor:
    time, freq = encoder.config.patch
    x = features(frames).x
    rows = [x[:, t : t + time, f : f + freq].reshape(2, -1) for t in range(0, frames, time) for f in range(0, 32, freq)]
    return torch.stack(rows, 1)


def test_separate_positions_of_time_and_frequency() -> None:
    encoder = SMALL.replace(positions="learned_separate").build()
    assert encoder.positions is None
    tokens = encoder.tokenize(features(100))
    assert tokens.positions is not None
    for t in range(7):
        for f in range(2):
            expected = encoder.time_positions[0, t, 0] + encoder.freq_positions[0, 0, f]
            torch.testing.assert_close(tokens.positions[0, t * 2 + f], expected)
    assert float(encoder.time_positions.detach().std()) == pytest.approx(0.02, rel=0.2)
    assert {"time_positions", "freq_positions"} <= encoder.no_decay
    assert SMALL.replace(positions="learned_separate").build().state_dict().keys() == encoder.state_dict().keys()


def test_learned_positions_may_start_from_a_normal() -> None:
    encoder = SMALL.replace(position_init="normal", class_tokens=2, cls_std=0.02).build()
    assert encoder.positions is not None
    assert encoder.positions.shape == (1, 2 + 16, 24)
    assert float(encoder.positions.detach().std()) == pytest.approx(0.02, rel=0.15)
    assert float(encoder.cls_token.detach().std()) == pytest.approx(0.02, rel=0.4)


def test_positions_by_convolution_see_their_neighbours_only_in_context() -> None:
    config = FRAMES.replace(positions="conv", conv_position=ConvPositionConfig(4, 2))
    encoder = config.build().eval()
    data = features(20)
    tokens = encoder.tokenize(data)
    assert tokens.positions is None
    start = encoder.contextualize(tokens, [0]).layers
    assert start is not None
    expected = encoder.norm_pre(tokens.x + encoder.conv_position(tokens.x))
    torch.testing.assert_close(start[0].block, expected)


@pytest.mark.parametrize("pooling", ["mean_of_cls", "cls", "mean_with_cls"])
def test_pooling_of_two_class_tokens(pooling: Any) -> None:
    encoder = SMALL.replace(class_tokens=2, pooling=pooling).build().eval()
    tokens = encoder(features(lengths=[128, 40]))
    assert tokens.cls is not None
    assert tokens.cls.shape == (2, 2, 24)
    for row, count in enumerate((16, 6)):
        rows = {
            "mean_of_cls": tokens.cls[row],
            "cls": tokens.cls[row, :1],
            "mean_with_cls": torch.cat([tokens.cls[row], tokens.x[row, :count]]),
        }[pooling]
        torch.testing.assert_close(encoder.pool(tokens)[row], encoder.fc_norm(rows.mean(0)), atol=1e-5, rtol=1e-5)


def test_frequency_tokens_side_by_side() -> None:
    encoder = layout("m2d", width=24, depth=2, heads=2, mels=32, frames=128).build().eval()
    assert encoder.pooled_width == 48
    tokens = encoder(features(lengths=[128, 40]))
    frames = concatenate_frequency(tokens)
    assert frames.x.shape == (2, 8, 48)
    assert frames.grid == Grid(8, 1, 6.25)
    assert frames.valid is not None
    assert frames.valid.sum(1).tolist() == [8, 3]
    for row, columns in enumerate((8, 3)):
        steps = [torch.cat([tokens.x[row, 2 * t], tokens.x[row, 2 * t + 1]]) for t in range(columns)]
        torch.testing.assert_close(frames.x[row, :columns], torch.stack(steps))
        torch.testing.assert_close(encoder.pool(tokens)[row], torch.stack(steps).mean(0), atol=1e-5, rtol=1e-5)
    whole = encoder(features())
    torch.testing.assert_close(encoder.pool(whole), concatenate_frequency(whole).x.mean(1))


def test_frequency_means_of_what_is_left() -> None:
    encoder = layout("m2d", width=24, depth=2, heads=2, mels=32, frames=128).build().eval()
    tokens = encoder(features(lengths=[128, 40]))
    index = torch.tensor([[0, 2, 3, 9], [4, 0, 15, 2]])  # the second: its band 1 is padding only
    kept = tokens.keep(index)
    pooled = encoder.pool(kept)
    torch.testing.assert_close(pooled[0, :24], tokens.x[0, [0, 2]].mean(0))
    torch.testing.assert_close(pooled[0, 24:], tokens.x[0, [3, 9]].mean(0))
    torch.testing.assert_close(pooled[1, :24], tokens.x[1, [4, 0, 2]].mean(0))
    assert bool((pooled[1, 24:] == 0).all())
    with pytest.raises(ConfigError, match="found 4 of 16 tokens, expected all"):
        concatenate_frequency(kept)


@pytest.mark.parametrize(("frames", "stride"), [(128, (10, 10)), (61, (7, 16)), (16, (16, 8)), (5, (10, 10))])
def test_overlapping_patches_are_a_strided_convolution(frames: int, stride: tuple[int, int]) -> None:
    encoder = SMALL.replace(stride=stride, patch_norm=False).build()
    conv = torch.nn.Conv2d(1, 24, 16, stride)
    conv.weight.data = encoder.patch_proj.weight.data.unflatten(1, (1, 16, 16))
    conv.bias.data = encoder.patch_proj.bias.data
    data = features(frames)
    x = torch.nn.functional.pad(data.x, (0, 0, 0, max(0, 16 - frames)), value=data.pad)
    expected = conv(x.unsqueeze(1))
    tokens = encoder.tokenize(data)
    # Along time they are cut as they are (to the last frame) where they do not overlap there.
    assert (tokens.grid.time, tokens.grid.freq) == tuple(expected.shape[2:])
    torch.testing.assert_close(tokens.x - tokens.positions, expected.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"stride": (10, 10)}, {"patch": (1, 32)}, {"patch": (4, 32)}])
def test_tokens_are_valid_where_the_clip_alone_has_them(changes: dict[str, Any]) -> None:
    encoder = SMALL.replace(**changes).build()
    for length in range(1, 128):
        valid = encoder.tokenize(features(lengths=[128, length])).valid
        if valid is None:
            assert encoder.grid(length) == encoder.grid(128)
            continue
        alone = encoder.grid(length).tokens
        assert valid[1].tolist() == [True] * alone + [False] * (valid.shape[1] - alone)


def test_layers_are_dropped_in_training_only() -> None:
    encoder = SMALL.replace(layer_drop=0.5, depth=1).build()
    data = features()
    torch.manual_seed(0)
    seen = [encoder.train()(data, [0, 1]).layers for _ in range(60)]
    skipped = [layers for layers in seen if layers is not None and layers[1].feedforward is None]
    assert 18 <= len(skipped) <= 42
    for layers in skipped:
        assert torch.equal(layers[0].block, layers[1].block)
    layers = encoder.eval()(data, [1]).layers
    assert layers is not None
    assert layers[0].feedforward is not None


def test_dropout_in_training_only() -> None:
    encoder = SMALL.replace(dropout=0.3, attention_dropout=0.3).build()
    data = features()
    torch.manual_seed(0)
    one = encoder.train()(data).x
    torch.manual_seed(0)
    same, other = encoder(data).x, encoder(data).x
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    plain = SMALL.build().eval()
    torch.testing.assert_close(encoder.eval()(data).x, plain(data).x)


def test_shared_layers_equal_copies() -> None:
    shared = FRAMES.replace(shared_layers=True, block_norm="post", layer_scale=0.5).build().eval()
    copies = FRAMES.replace(block_norm="post", layer_scale=0.5).build().eval()
    state = shared.state_dict()
    for i in (1, 2):
        state |= {n.replace("blocks.0.", f"blocks.{i}."): t for n, t in state.items() if n.startswith("blocks.0.")}
    copies.load_state_dict(state)
    one, two = shared(features(), [1, 2, 3]), copies(features(), [1, 2, 3])
    assert one.layers is not None
    assert two.layers is not None
    for a, b in zip(one.layers, two.layers, strict=True):
        assert torch.equal(a.block, b.block)
        assert a.feedforward is not None
        assert torch.equal(a.feedforward, b.feedforward)


def test_initialise_starts_afresh() -> None:
    config = layout("dasheng", width=24, depth=1, heads=2, patch=(4, 32), mels=32, frames=128, layer_scale=0.1)
    encoder, fresh = config.build(), config.build()
    encoder.train()(features())
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1)
    encoder.initialise()
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_norm": "both"}, "block_norm is 'both'"),
        ({"positions": "conv"}, "run along time only, found patches of 16 of 32 mel bins"),
        ({"stride": (20, 16)}, "expected 1 <= stride <= patch"),
        ({"stride": (0, 16)}, "stride.0 is 0; expected a whole number of at least 1"),
        ({"patch": (16, 64)}, "mels 32 must be a multiple"),
        ({"patch": (16, 64), "stride": (8, 8)}, "mels 32 must be a multiple"),
        ({"frames": 8, "stride": (8, 8)}, "frames 8 must be a multiple"),
        ({"shared_layers": True, "drop_path": 0.1}, "one block for all; set 0"),
        ({"class_tokens": 0}, "class_tokens is 0"),
        ({"dropout": 1.0}, "dropout is 1.0.*below 1"),
        ({"layer_drop": -0.1}, "layer_drop is -0.1.*at least 0"),
        ({"pooling": "concat_freq"}, "F \\* D, final 'fc_norm' normalises D"),
        ({"pooling": "mean_of_cls", "cls": False}, "reads the class token"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SMALL.replace(**changes)


def test_other_pads_reach_the_last_patch() -> None:
    """A patch that runs past the end is filled with the features' own pad, also behind a norm of bins."""
    for changes in ({}, {"input_norm": "batch"}):
        encoder = SMALL.replace(**changes).build().eval()
        data = features(120)
        room = torch.full((2, 8, 32), data.pad)
        filled = replace(data, x=torch.cat([data.x, room], 1))
        one, two = encoder.tokenize(data), encoder.tokenize(filled)
        torch.testing.assert_close(one.x, two.x)
