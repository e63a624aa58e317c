"""What is read of a frozen encoder: layers, statistics of their tokens, exact over windows and without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.callables import FrozenCallable
from auricle.encoders.contract import Ability, Encoder, Grid, Layer, Tokens, valid_positions
from auricle.encoders.features import LAYERS, OUTPUT, FeaturesConfig, Moments, get_features, valid_on
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.recipes.recipe import Recipe

RATE = 16000
SMALL = SpectrogramTransformerConfig(width=24, depth=2, heads=2, mels=32, frames=64)
VECTORS = FeaturesConfig("all", "mean_std")


def frozen(features: FeaturesConfig = LAYERS, **how: str) -> FrozenEncoder:
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), SMALL.build(), name="small", features=features, **how)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


class Frames(Encoder):
    """An encoder of single frames: windows change nothing. Its second layer is on half the rate, if asked."""

    abilities = frozenset({Ability.EXACT_PADDING})
    width, depth, bands = 8, 2, 32

    def __init__(self, most: int | None, coarse: bool = False) -> None:
        super().__init__()
        self.max_frames, self.coarse = most, coarse
        self.weight = torch.nn.Parameter(torch.randn(32, 8, generator=torch.Generator().manual_seed(3)))

    def grid(self, frames: int) -> Grid:
        return Grid(frames, 1, 100.0)

    def tokenize(self, features: Features) -> Tokens:
        x = features.x @ self.weight
        return Tokens(x, self.grid(x.shape[1]), valid=valid_positions(features.lengths, x.shape[1]))

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        x, half = tokens.x, replace(tokens.grid, time=-(-tokens.grid.time // 2), rate=50.0)
        second = Layer(x[:, ::2].cos(), half) if self.coarse else Layer(x.cos(), tokens.grid)
        every = (Layer(x, tokens.grid), second, Layer(x.sin(), tokens.grid))
        return replace(tokens, x=x.sin(), layers=tuple(every[layer] for layer in layers) or None)


def of_frames(most: int | None, features: FeaturesConfig = LAYERS, coarse: bool = False) -> FrozenEncoder:
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), Frames(most, coarse), name="frames", features=features)


def test_moments_of_valid_tokens_only() -> None:
    x = torch.randn(3, 7, 4) * 3 + 100
    valid = torch.tensor([[True] * 7, [True] * 3 + [False] * 4, [False, True] + [False] * 5])
    x[~valid] = torch.nan
    found = Moments.of(x, valid)
    for b in range(3):
        own = x[b][valid[b]].double()
        torch.testing.assert_close(found.mean[b].double(), own.mean(0), rtol=1e-6, atol=0)
        torch.testing.assert_close(
            found.deviation[b].double(), own.std(0, correction=0).clamp(min=1e-6), rtol=1e-4, atol=1e-6
        )
    assert found.count.tolist() == [7, 3, 1]


def test_moments_of_windows_are_those_of_the_whole() -> None:
    x, valid = torch.randn(2, 30, 5) * 2 + 50, torch.arange(30) < torch.tensor([[30], [12]])
    whole = Moments.of(x, valid)
    parts = [Moments.of(x[:, a:b], valid[:, a:b]) for a, b in ((0, 7), (7, 11), (11, 29), (29, 30))]
    joined = parts[0].join(parts[1]).join(parts[2].join(parts[3]))
    assert torch.equal(joined.count, whole.count)
    torch.testing.assert_close(joined.mean, whole.mean)
    torch.testing.assert_close(joined.deviation, whole.deviation)


@pytest.mark.parametrize("vector", ["mean", "mean_std"])
def test_long_clips_give_the_vector_of_one_pass(vector: str) -> None:
    features = FeaturesConfig("all", vector)  # type: ignore[arg-type]
    audio = Audio.stack([noise(1.53, 1), noise(0.4, 2), noise(0.9, 3)], RATE)
    whole, windowed = of_frames(None, features).pooled(audio), of_frames(37, features).pooled(audio)
    assert whole.shape == (3, 24 if vector == "mean" else 48)
    torch.testing.assert_close(windowed, whole, rtol=1e-4, atol=1e-5)


def test_windows_of_a_transformer_are_joined_by_their_tokens() -> None:
    encoder, clip = frozen(), noise(1.5)
    features = encoder.frontend(Audio.stack([clip], RATE))
    maps: list[list[torch.Tensor]] = [[], [], []]
    for start in range(0, features.x.shape[1], 64):
        part = features.x[:, start : start + 64]
        window = Features(part, torch.tensor([part.shape[1]]), features.rate, features.pad)
        with torch.no_grad():
            for place, layer in enumerate(encoder.encoder(window, (0, 1, 2)).layers or ()):
                maps[place].append(layer.block[0].double())
    every = [torch.cat(parts) for parts in maps]
    expected = torch.cat([x for each in every for x in (each.mean(0), each.std(0, correction=0))])
    np.testing.assert_allclose(encoder.embed(clip, RATE), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert encoder.pooled_width == len(expected) == 3 * 2 * 24


@pytest.mark.parametrize(
    "features", [LAYERS, VECTORS, FeaturesConfig((2, 0), "mean", "mean"), FeaturesConfig("output", "mean")]
)
def test_padding_changes_nothing(features: FeaturesConfig) -> None:
    encoder, clips = frozen(features), [noise(0.9, 1), noise(0.21, 2), noise(0.5, 3)]
    together = encoder.embed(clips, RATE)
    tokens = encoder.tokens(Audio.stack(clips, RATE))
    assert tokens.valid is not None
    for b, clip in enumerate(clips):
        np.testing.assert_allclose(together[b], encoder.embed(clip, RATE), atol=1e-5)
        alone = encoder.tokens(Audio.stack([clip], RATE)).x[0]
        torch.testing.assert_close(tokens.x[b][tokens.valid[b]], alone, rtol=1e-4, atol=1e-5)


def of_slices() -> FrozenEncoder:
    config = SliceCNNConfig(channels=(8, 8, 8), mels=32)
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), config.build(), name="slices", features=LAYERS)


def of_ntt() -> FrozenEncoder:
    config = AudioNTTConfig(width=64, channels=16)
    return FrozenEncoder(LogMelConfig(mels=64).build(), config.build(), name="ntt", features=LAYERS)


@pytest.mark.parametrize("encoder", [of_slices(), of_ntt(), of_frames(None, coarse=True)], ids=lambda e: e.name)
def test_layers_on_other_grids_are_read_clip_length_by_clip_length(encoder: FrozenEncoder) -> None:
    clips = [noise(0.83, 1), noise(0.5, 2), noise(0.83, 3)]
    assert not encoder.exact_padding
    together = encoder.embed(clips, RATE)
    for vector, clip in zip(together, clips, strict=True):
        np.testing.assert_allclose(vector, encoder.embed(clip, RATE), atol=1e-5)
    assert together.shape == (3, encoder.pooled_width)


def test_layers_on_other_grids_are_not_averaged() -> None:
    audio = Audio.stack([noise(0.5)], RATE)
    found = of_frames(None, coarse=True).tokens(audio)
    first, _, last = of_frames(None, OUTPUT, coarse=True).tokens(audio, (0, 1, 2)).layers or ()
    expected = (F.layer_norm(first.block, (8,)) + F.layer_norm(last.block, (8,))) / 2
    torch.testing.assert_close(found.x, expected)
    coarse = of_frames(None, FeaturesConfig((1,), "mean", "mean"), coarse=True)
    with pytest.raises(
        ConfigError,
        match=r"no layer has tokens of the output's shape .*; set --features output \(Python: tokens='output'\)",
    ):
        coarse.embed(noise(0.5), RATE)


def test_tokens_are_the_mean_of_normalised_layers() -> None:
    audio = Audio.stack([noise(0.4)], RATE)
    plain = frozen(OUTPUT).tokens(audio, (0, 1, 2))
    blocks = [F.layer_norm(layer.block, (24,)) for layer in plain.layers or ()]
    found = frozen(LAYERS).tokens(audio, (1,))
    torch.testing.assert_close(found.x, sum(blocks, torch.zeros(())) / 3)
    assert [layer.block.shape for layer in found.layers or ()] == [plain.x.shape]
    one = frozen(FeaturesConfig((1,), "mean", "mean")).tokens(audio)
    torch.testing.assert_close(one.x, (plain.layers or ())[1].block)
    torch.testing.assert_close(frozen(VECTORS).tokens(audio).x, plain.x)


def test_bfloat16_keeps_statistics_in_float32() -> None:
    audio = Audio.stack([noise(1.5, 1), noise(0.4, 2)], RATE)
    for features in (LAYERS, VECTORS, OUTPUT):
        found = frozen(features, precision="bf16").pooled(audio)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, frozen(features).pooled(audio), rtol=0.1, atol=0.1)


def test_gradients_of_equal_tokens_are_finite() -> None:
    x = torch.ones(1, 5, 3, requires_grad=True)
    LAYERS.summary([Moments.of(x, torch.ones(1, 5, dtype=torch.bool))]).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_fingerprint_and_name() -> None:
    plain, layers = frozen(OUTPUT), frozen(LAYERS)
    prints = {e.fingerprint for e in (plain, layers, frozen(VECTORS), frozen(LAYERS, precision="bf16"))}
    assert len(prints) == 4
    assert plain.reading(LAYERS).fingerprint == layers.fingerprint
    assert layers.reading(OUTPUT).fingerprint == plain.fingerprint
    assert layers.reading(LAYERS) is layers
    assert layers.reading(OUTPUT, marked=True).name == "small (output)"
    assert layers.reading(OUTPUT, marked=True).reading(LAYERS, marked=True).name == layers.name == "small"
    assert plain.reading(LAYERS, marked=True).reading(OUTPUT, marked=True).name == "small"
    assert plain.reading(FeaturesConfig((1, 2), "mean"), marked=True).name == "small (layers 1, 2)"


def test_the_random_control_is_read_the_same_way() -> None:
    control = frozen(VECTORS).randomised(1)
    assert control.features == VECTORS
    assert control.pooled_width == 144
    assert control.fingerprint != frozen(OUTPUT).randomised(1).fingerprint


def test_a_callable_has_an_output_alone() -> None:
    class Loudness:
        rate, width = RATE, 1

        def __call__(self, wave: torch.Tensor) -> torch.Tensor:
            return wave.unfold(1, 100, 100).square().mean(2, keepdim=True)

    encoder = FrozenCallable(Loudness(), name="loudness")
    with pytest.raises(
        ConfigError, match=r"loudness has no layers: it returns its output alone; set --features output"
    ):
        encoder.reading(LAYERS)
    assert encoder.reading(FeaturesConfig("output", "mean_std")).embed(noise(0.5), RATE).shape == (2,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": "all"}, "own pooling is for its output; set --features.vector to"),
        ({"layers": (), "vector": "mean"}, "expected different numbers"),
        ({"layers": (1, 1), "vector": "mean"}, "expected different numbers"),
        ({"layers": (-1,), "vector": "mean"}, "of at least 0"),
        ({"layers": "some", "vector": "mean"}, "expected 'output' or 'all'"),
        ({"tokens": "mean"}, "names no layers to average; set --features.layers to all"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FeaturesConfig(**values)  # type: ignore[arg-type]


def test_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"names layer 3, and small has 2; expected numbers from 0 to 2"):
        frozen(FeaturesConfig((0, 3), "mean"))
    with pytest.raises(
        ConfigError, match=r"features is 'layer'; expected recipe, output or layers; did you mean 'layers'"
    ):
        get_features("layer", OUTPUT)
    assert get_features("recipe", VECTORS) == VECTORS
    assert get_features(LAYERS, VECTORS) == LAYERS


def test_validity_on_other_grids() -> None:
    tokens = Tokens(torch.zeros(1, 4, 2), Grid(4, 1, 10.0), valid=torch.tensor([[True, True, True, False]]))
    assert valid_on(tokens, Grid(8, 2, 20.0)).tolist() == [[True] * 12 + [False] * 4]
    assert valid_on(tokens, Grid(4, 1, 10.0)).tolist() == [[True, True, True, False]]
    assert valid_on(replace(tokens, valid=None), Grid(2, 1, 5.0)).tolist() == [[True, True]]


def test_recipes_from_before_read_the_output() -> None:
    data = Recipe().to_json()
    del data["features"]
    assert Recipe.from_json(data).features == OUTPUT
    assert Recipe.from_json(Recipe(features=FeaturesConfig((1, 3), "mean")).to_json()).features.layers == (1, 3)
