"""An encoder with a codebook: its codes against a slow search, and its body unchanged by them."""

from __future__ import annotations

import math

import pytest
import torch

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.coding_encoder import CodingEncoder, CodingEncoderConfig
from auricle.encoders.contract import Ability
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.quantisers.codebook import CodebookConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError

BODY = BEATsConfig(width=32, embed=16, depth=2, heads=2, mels=32, position=ConvPositionConfig(kernel=8, groups=4))
CODING = CodingEncoderConfig(body=BODY, codebook=CodebookConfig(codes=16, dim=8))


def features(*lengths: int, seed: int = 0) -> Features:
    x = torch.randn(len(lengths), max(lengths), 32, generator=torch.Generator().manual_seed(seed))
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0.0
    return Features(x, torch.tensor(lengths), 100.0)


def coder(seed: int = 0) -> CodingEncoder:
    encoder = CODING.build(torch.Generator().manual_seed(seed)).eval()
    assert isinstance(encoder, CodingEncoder)
    return encoder


@torch.no_grad()
def test_a_code_is_the_nearest_direction_by_a_slow_search() -> None:
    encoder, data = coder(), features(96, 96)
    codes = encoder.codes(encoder.tokenize(data))
    tokens = encoder.contextualize(encoder.tokenize(data)).x
    assert codes.shape == (2, 12, 1)
    assert codes.dtype == torch.int64
    book = encoder.codebook
    for clip in range(2):
        for place in range(12):
            hidden = [math.tanh(float(row @ tokens[clip, place] + b)) for row, b in zip(
                book.fc1.weight, book.fc1.bias, strict=True
            )]  # fmt: skip
            vector = (book.fc2.weight.double() @ torch.tensor(hidden).double() + book.fc2.bias).tolist()
            length = math.sqrt(sum(v * v for v in vector))
            near = [sum(a * b for a, b in zip(row, vector, strict=True)) / length for row in book.book.tolist()]
            assert near[int(codes[clip, place])] == pytest.approx(max(near), abs=1e-5)


@torch.no_grad()
def test_the_codebook_changes_nothing_that_the_body_returns() -> None:
    encoder, data = coder(), features(96, 50)
    whole, body = encoder(data, [0, 1, 2]), encoder.body(data, [0, 1, 2])
    assert torch.equal(whole.x, body.x)
    assert all(torch.equal(a.block, b.block) for a, b in zip(whole.layers, body.layers, strict=True))
    assert torch.equal(encoder.pool(whole), encoder.body.pool(body))
    for name in ("width", "depth", "bands", "input_rate", "max_frames", "least_frames", "pooled_width"):
        assert getattr(encoder, name) == getattr(encoder.body, name)
    assert encoder.grid(96) == encoder.body.grid(96)
    assert encoder.abilities == encoder.body.abilities | {Ability.CODES}
    assert encoder.entries == 16


@torch.no_grad()
def test_codes_of_a_clip_are_those_it_has_alone() -> None:
    encoder, both = coder(), features(48, 96)
    together = encoder.codes(encoder.tokenize(both))
    alone = encoder.codes(encoder.tokenize(Features(both.x[:1, :48], both.lengths[:1], 100.0)))
    assert torch.equal(together[0, : alone.shape[1]], alone[0])


def test_quantised_tokens_are_rows_of_the_book_with_a_straight_gradient() -> None:
    encoder = coder()
    tokens = encoder(features(96, 96))
    coded = encoder.quantise(tokens)
    torch.testing.assert_close(coded.x, encoder.codebook.book[coded.codes])
    assert torch.equal(coded.codes.unsqueeze(-1), encoder.codes(encoder.tokenize(features(96, 96))))
    weight = torch.randn(coded.x.shape, generator=torch.Generator().manual_seed(1))
    (got,) = torch.autograd.grad((coded.x * weight).sum(), coded.unit, retain_graph=True)
    assert torch.equal(got, weight)
    (got,) = torch.autograd.grad((coded.x * weight).sum(), encoder.codebook.fc2.weight)
    assert float(got.abs().sum()) > 0


def test_weights_come_from_the_generator_and_the_body_is_drawn_first() -> None:
    one, same, other = coder(1), coder(1), coder(2)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(one.codebook.book, other.codebook.book)
    body = BODY.build(torch.Generator().manual_seed(1))
    assert all(torch.equal(value, one.body.state_dict()[name]) for name, value in body.state_dict().items())
    torch.testing.assert_close(one.codebook.book.norm(dim=1), torch.ones(16))


def test_settings_travel_with_any_body() -> None:
    config = CodingEncoderConfig(
        body=SpectrogramTransformerConfig(width=32, depth=1, heads=2, mels=32, frames=64),
        codebook=CodebookConfig(codes=4, dim=2),
    )
    again = Config.from_json(config.to_json())
    assert again == config
    built = again.build()
    assert built.codes(built.tokenize(features(64))).max() < 4
    with pytest.raises(ConfigError, match="codes is 1"):
        CodebookConfig(codes=1)
