"""Several layers of a real extraction, read as one stack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.tokens.cache import TokenCache
from auricle.tokens.extract import extract
from auricle.tokens.token_set import TokenSet

RATE = 16000
LENGTHS = [0.5, 1.3, 0.4, 0.9]
LAYERS = (1, 2, 3)


@pytest.fixture(scope="module")
def encoder() -> FrozenEncoder:
    config = SpectrogramTransformerConfig(width=16, depth=3, heads=2, mels=32, frames=64)
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), config.build(torch.Generator().manual_seed(0)), name="toy")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("clips")
    draw = np.random.default_rng(0)
    names = [f"{i}.wav" for i in range(len(LENGTHS))]
    for name, seconds in zip(names, LENGTHS, strict=True):
        sf.write(folder / name, 0.1 * draw.standard_normal(int(seconds * RATE)), RATE)
    return Corpus.from_columns({"file": names, "seconds": LENGTHS, "label": list("abab")}, root=folder)


@pytest.fixture(scope="module")
def cache(encoder: FrozenEncoder, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> TokenCache:
    return extract(encoder, corpus, tmp_path_factory.mktemp("cache") / "c", layers=LAYERS, progress=False)


def test_a_stack_holds_what_each_layer_holds(cache: TokenCache, encoder: FrozenEncoder, corpus: Corpus) -> None:
    tokens = cache.select([1, 3, 0], layers="all")
    assert tokens.shape.layers == 3
    assert tokens.layers == LAYERS
    assert tokens.layer == 3
    batch = tokens.batch([2, 0])
    assert batch.aligned
    x, valid = batch.layers(one_grid=True)
    for place, layer in enumerate(LAYERS):
        alone = cache.select([0, 1], layer=layer).batch([0, 1])
        assert torch.equal(x[:, place], alone.x)
        assert torch.equal(valid[:, place], alone.valid)
        assert torch.equal(batch.stack_cls[:, place], alone.cls)
        assert batch.stack_grids[place] == alone.grid
    assert torch.equal(batch.x, x[:, -1])
    hidden = encoder.encode(Audio.stack([corpus.audio(0)], RATE), LAYERS)[0].layers
    for place, layer in enumerate(hidden):
        there = valid[0, place]
        torch.testing.assert_close(x[0, place][there], layer.block[0, : int(there.sum())], rtol=2e-3, atol=2e-3)


def test_layers_in_the_order_wanted(cache: TokenCache) -> None:
    tokens = cache.select(layers=(3, 1))
    assert tokens.layers == (3, 1)
    assert tokens.layer == 1
    assert torch.equal(tokens.batch([0]).x, cache.select(layer=1).batch([0]).x)
    assert cache.select(layer=2).layers == (2,)
    assert cache.select(layers=(2,)).shape.layers == 1
    one = cache.select(layers=(2,)).batch([0]).stack
    assert one.shape[1] == 1


def test_selecting_keeps_the_layers_together(cache: TokenCache) -> None:
    tokens = cache.select(layers="all")
    some = tokens.select([3, 0, 2])
    assert some.tokens is tokens.tokens
    assert torch.equal(some.batch([0, 1, 2]).stack, tokens.batch([3, 0, 2]).stack)
    assert torch.equal(some.batch([1]).stack_cls, tokens.batch([0]).stack_cls)


def test_a_batch_moves_whole(cache: TokenCache) -> None:
    batch = cache.select(layers="all").batch([1, 0])
    moved = batch.to("cpu")
    assert torch.equal(moved.stack, batch.stack)
    assert torch.equal(moved.stack_cls, batch.stack_cls)
    assert torch.equal(moved.pooled, batch.pooled)
    assert moved.stack_grids == batch.stack_grids


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"layers": (1, 4)}, r"layer 4 is not in this cache of layers \[1, 2, 3\]; extract it"),
        ({"layers": ()}, "expected different ones"),
        ({"layers": (1, 1)}, "expected different ones"),
        ({"layers": "all", "layer": 1}, "expected one layer, or the layers to stack"),
    ],
)
def test_refused_layers(cache: TokenCache, arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        cache.select(**arguments)  # type: ignore[arg-type]


def test_only_layers_alike_are_stacked() -> None:
    draw = torch.Generator().manual_seed(0)
    one = TokenSet.from_tensors(torch.randn(3, 4, 6, generator=draw), encoder="a")
    others = [
        TokenSet.from_tensors(torch.randn(3, 4, 5, generator=draw), encoder="a"),
        TokenSet.from_tensors(torch.randn(2, 4, 6, generator=draw), encoder="a"),
        TokenSet.from_tensors(torch.randn(3, 4, 6, generator=draw), encoder="b"),
    ]
    for other in others:
        with pytest.raises(ConfigError, match="differ in"):
            TokenSet.of_layers([one, other])
    with pytest.raises(ConfigError, match="no layers"):
        TokenSet.of_layers([])


def test_what_is_not_looked_at_is_not_read(cache: TokenCache, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = cache.select(layers="all")

    def unread(self: TokenSet, places: np.ndarray, longest: int | None = None) -> None:
        raise AssertionError("tokens were read")

    expected = tokens.batch([2]).pooled
    monkeypatch.setattr(TokenSet, "_read", unread)
    batch = tokens.batch([2])
    assert torch.equal(batch.pooled, expected)
    assert batch.stack_cls.shape == (1, 3, 1, 16)
    with pytest.raises(AssertionError, match="were read"):
        _ = batch.x


def test_clips_that_fit_no_dense_array() -> None:
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))
    even = TokenSet.from_tensors(x)
    valid = torch.ones(4, 6, dtype=torch.bool)
    valid[2, 1] = False
    assert even.unlike() == []
    assert TokenSet.from_tensors(x, valid=valid).unlike() == [2]
    ragged = replace(even, time=np.array([6, 6, 3, 3]))
    assert sorted(ragged.unlike()) == [0, 2]
    assert TokenSet.of_layers([TokenSet.from_tensors(x, valid=valid), even]).unlike() == [2]
