"""Waveform transformers beside those of `transformers` on the same random weights, and what those leave open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.contract import Ability
from auricle.encoders.conv_position import ConvPositionConfig
from auricle.encoders.waveform_stem import WAV2VEC2, WAV2VEC2_LAYER
from auricle.encoders.waveform_transformer import SIZES, WaveformTransformer, WaveformTransformerConfig
from auricle.encoders.waveform_weights import load_transformers_weights
from auricle.errors import ConfigError

_SMALL = WaveformTransformerConfig(
    stem=WAV2VEC2_LAYER.narrow(16),
    width=32,
    depth=3,
    heads=4,
    position=ConvPositionConfig(kernel=16, groups=4),
    input_dropout=0.0,
    dropout=0.0,
    attention_dropout=0.0,
    layer_drop=0.0,
)
_D2V = ConvPositionConfig(kernel=7, groups=4, depth=5)


def shaken(module: torch.nn.Module) -> Any:
    """Move every weight off its initial value, so that nothing is hidden by zeros and ones."""
    with torch.no_grad():
        for place, p in enumerate(module.parameters()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(place)) * 0.1)
    return module.double().eval()


def wave(clips: int, samples: int, seed: int = 0) -> Tensor:
    return torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed)).double()


def features(x: Tensor, lengths: list[int] | None = None) -> Features:
    return Features(x, torch.tensor(lengths or [x.shape[1]] * len(x)), 16_000.0)


def reference(family: str, **changes: Any) -> Any:
    """Return a tiny model of `transformers` in float64 with random weights."""
    transformers = pytest.importorskip("transformers")
    settings = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "layerdrop": 0.0,
        "attn_implementation": "eager",
        "vocab_size": 8,
    } | changes
    config = getattr(transformers, f"{family}Config")(**settings)
    return shaken(getattr(transformers, f"{family}Model")(config))


FAMILIES: dict[str, tuple[Any, WaveformTransformerConfig]] = {
    "wav2vec2-base": (lambda: reference("Wav2Vec2"), _SMALL.replace(stem=WAV2VEC2.narrow(16))),
    "wav2vec2-large": (
        lambda: reference("Wav2Vec2", do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True),
        _SMALL.replace(norm="pre"),
    ),
    "hubert-base": (lambda: reference("Hubert"), _SMALL.replace(stem=WAV2VEC2.narrow(16))),
    "hubert-large": (
        lambda: reference("Hubert", do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True),
        _SMALL.replace(norm="pre"),
    ),
    "wavlm-base": (lambda: reference("WavLM"), _SMALL.replace(stem=WAV2VEC2.narrow(16), bias="wavlm")),
    "wavlm-large": (
        lambda: reference("WavLM", do_stable_layer_norm=True, feat_extract_norm="layer"),
        _SMALL.replace(stem=WAV2VEC2_LAYER.narrow(16).replace(bias=False), norm="pre", bias="wavlm"),
    ),
    "wavlm-few-buckets": (
        lambda: reference("WavLM", num_buckets=8, max_bucket_distance=12),
        _SMALL.replace(stem=WAV2VEC2.narrow(16), bias="wavlm", buckets=8, max_distance=12),
    ),
    "data2vec": (
        lambda: reference("Data2VecAudio", num_conv_pos_embeddings=5, conv_pos_kernel_size=7),
        _SMALL.replace(stem=WAV2VEC2_LAYER.narrow(16).replace(bias=False), position=_D2V),
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_and_gradients_equal_the_library(family: str) -> None:
    make, config = FAMILIES[family]
    theirs, ours = make(), config.replace(stem_gradient=1.0).build().double().eval()
    unread = load_transformers_weights(ours, theirs.state_dict())
    assert set(unread) <= {"masked_spec_embed"}
    x = wave(2, 16_000)
    expected = theirs(x, output_hidden_states=True)
    tokens = ours(features(x), range(4))
    assert tokens.valid is None
    torch.testing.assert_close(tokens.x, expected.last_hidden_state, rtol=1e-9, atol=1e-9)
    hidden = expected.hidden_states if config.norm == "post" else expected.hidden_states[:-1]
    for layer, state in zip(tokens.layers, hidden, strict=False):
        torch.testing.assert_close(layer.block, state, rtol=1e-9, atol=1e-9)
    if hasattr(expected, "extract_features"):
        torch.testing.assert_close(tokens.stem.x, expected.extract_features, rtol=1e-9, atol=1e-9)
    expected.last_hidden_state.pow(3).sum().backward()
    tokens.x.pow(3).sum().backward()
    pairs = [(ours.stem.convs[0].weight, theirs.feature_extractor.conv_layers[0].conv.weight)]
    pairs.append((ours.blocks[0].fc1.weight, theirs.encoder.layers[0].feed_forward.intermediate_dense.weight))
    if config.bias == "wavlm":
        first = theirs.encoder.layers[0].attention
        pairs += [(ours.relative.table, first.rel_attn_embed.weight)]
        pairs += [(ours.blocks[2].gate.project.weight, theirs.encoder.layers[2].attention.gru_rel_pos_linear.weight)]
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("family", ["wav2vec2-large", "wavlm-large"])
def test_masked_and_padded_batches_equal_the_library(family: str) -> None:
    """A mask vector at chosen places, and clips of two lengths, as the library takes them."""
    make, config = FAMILIES[family]
    theirs, ours = make(), config.build().double().eval()
    state = theirs.state_dict()
    load_transformers_weights(ours, state)
    x, lengths = wave(2, 16_000), [16_000, 9_000]
    x[1, 9_000:] = 0
    hide = torch.zeros(2, 49, dtype=torch.bool)
    hide[0, 5:15] = hide[1, 3:9] = True
    attend = torch.arange(16_000) < torch.tensor(lengths)[:, None]
    vector = torch.randn(32, generator=torch.Generator().manual_seed(5)).double()
    theirs.masked_spec_embed.data = vector
    expected = theirs(x, attention_mask=attend.long(), mask_time_indices=hide).last_hidden_state
    tokens = ours.tokenize(features(x, lengths))
    assert tokens.positions is None
    out = ours.contextualize(replace(tokens, x=torch.where(hide[..., None], vector, tokens.x)))
    assert out.valid is not None
    assert out.valid.sum(1).tolist() == [49, 27]
    torch.testing.assert_close(out.x[out.valid], expected[out.valid], rtol=1e-9, atol=1e-9)


def test_feedforward_is_the_branch_before_the_residual() -> None:
    """What data2vec takes as targets: the output of the second linear layer, in either order of norms."""
    for norm in ("post", "pre"):
        encoder = shaken(_SMALL.replace(norm=norm).build())
        caught: list[Tensor] = []
        encoder.blocks[1].fc2.register_forward_hook(lambda m, i, o: caught.append(o))  # noqa: B023
        layers = encoder(features(wave(1, 8_000)), [2]).layers
        assert torch.equal(layers[0].feedforward, caught[0])


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("base", 94.37),
        ("large", 315.44),
        ("wavlm_base", 94.38),
        ("wavlm_large", 315.45),
        ("data2vec_base", 93.16),
        ("data2vec_large", 313.28),
        ("distilhubert", 23.49),
    ],
)
def test_parameter_counts(name: str, count: float) -> None:
    with torch.device("meta"):
        encoder = WaveformTransformerConfig.size(name).build()
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(count, abs=0.006)


def test_every_size_builds_and_travels_as_json() -> None:
    for name in SIZES:
        config = WaveformTransformerConfig.size(name)
        assert WaveformTransformerConfig.from_json(config.to_json()) == config
    with torch.device("meta"):
        count = sum(p.numel() for p in WaveformTransformerConfig.size("tiny").build().parameters())
    assert 3.5e6 < count < 5e6


def dense_attention_with_alibi(encoder: WaveformTransformer, x: Tensor, places: Tensor) -> Tensor:
    """A slow loop over heads: the blocks on positioned tokens, distances from their places on the full grid."""
    heads, d = encoder.config.heads, encoder.width // encoder.config.heads
    x = torch.nn.functional.layer_norm(x, (encoder.width,), encoder.norm.weight, encoder.norm.bias)
    for block in encoder.blocks:
        parts = []
        for head in range(heads):
            q, k, v = (
                (x @ w.T + b)[:, head * d : (head + 1) * d]
                for w, b in zip(block.qkv.weight.chunk(3), block.qkv.bias.chunk(3), strict=True)
            )
            slope = 2.0 ** (-8 * (head + 1) / heads) * max(float(encoder.relative.scale[head]), 0.0)
            scores = torch.stack(
                [
                    torch.stack(
                        [q[i] @ k[j] / d**0.5 - slope * abs(int(places[i]) - int(places[j])) for j in range(len(x))]
                    )
                    for i in range(len(x))
                ]
            )
            parts.append(scores.softmax(1) @ v)
        x = block.norm1(x + block.proj(torch.cat(parts, 1)))
        x = block.norm2(x + block.fc2(torch.nn.functional.gelu(block.fc1(x))))
    return x


def test_visible_tokens_alone_keep_their_distances_and_convolve_over_zeros() -> None:
    """data2vec 2.0: hidden tokens are zeroed, positions are convolved on the whole, then the visible ones are taken."""
    config = _SMALL.replace(bias="alibi", position=_D2V)
    encoder = shaken(config.build())
    with torch.no_grad():
        encoder.relative.scale[1] = -0.5
    tokens = encoder.tokenize(features(wave(1, 6_500)))
    kept = torch.tensor([[19, 2, 3, 9]])  # the last token is among them: the sequence isn't cut
    assert tokens.grid.tokens == 20
    zeroed = torch.zeros_like(tokens.x[0])
    zeroed[kept[0]] = tokens.x[0, kept[0]]
    y = zeroed.T[None]
    for conv in encoder.position.convs:
        y = torch.nn.functional.conv1d(y, conv.weight, conv.bias, padding=3, groups=4)
        y = torch.nn.functional.gelu(torch.nn.functional.layer_norm(y.transpose(1, 2), (32,))).transpose(1, 2)
    positioned = (zeroed + y[0].T)[kept[0]]
    expected = dense_attention_with_alibi(encoder, positioned, kept[0])
    torch.testing.assert_close(encoder.contextualize(tokens.keep(kept)).x[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bias", ["none", "wavlm", "alibi"])
def test_keeping_all_tokens_equals_dropping_none(bias: str) -> None:
    encoder = shaken(_SMALL.replace(bias=bias, position=_D2V).build())
    tokens = encoder.tokenize(features(wave(2, 8_000), [8_000, 5_000]))
    every = torch.arange(tokens.grid.tokens).expand(2, -1)
    whole, kept = encoder.contextualize(tokens), encoder.contextualize(tokens.keep(every))
    torch.testing.assert_close(kept.x[tokens.valid], whole.x[tokens.valid], rtol=1e-9, atol=1e-9)


def test_positions_before_hiding_or_after() -> None:
    """`tokenize`: a visible token tells of its hidden neighbour; `context`: it doesn't."""
    for place, leaks in (("tokenize", True), ("context", False)):
        encoder = shaken(_SMALL.replace(position_place=place).build())
        x = wave(1, 8_000)
        other = x.clone()
        other[0, 12 * 320 : 12 * 320 + 100] += 1.0  # seen by tokens 11 and 12 only
        kept = torch.tensor([[3, 9, 14, 20]])
        one, two = (encoder.contextualize(encoder.tokenize(features(w)).keep(kept)).x for w in (x, other))
        assert torch.allclose(one, two) is not leaks
    whole = wave(1, 8_000)
    outputs = [shaken(_SMALL.replace(position_place=p).build())(features(whole)).x for p in ("tokenize", "context")]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)


def test_the_stem_gradient_is_scaled() -> None:
    grads = {}
    for factor in (1.0, 0.1, 0.0):
        encoder = shaken(_SMALL.replace(stem_gradient=factor).build())
        encoder(features(wave(1, 4_000))).x.pow(3).sum().backward()
        grads[factor] = (encoder.stem.convs[0].weight.grad, encoder.projection.weight.grad)
    torch.testing.assert_close(grads[0.1][0], grads[1.0][0] * 0.1)
    assert grads[0.0][0] is None
    torch.testing.assert_close(grads[0.0][1], grads[1.0][1])


def test_layer_drop_skips_blocks_in_training_only() -> None:
    encoder = shaken(_SMALL.replace(layer_drop=0.5, depth=8).build()).train()
    torch.manual_seed(0)
    layers = encoder(features(wave(1, 4_000)), range(9)).layers
    skipped = [layers[i].feedforward is None for i in range(1, 9)]
    assert 0 < sum(skipped) < 8
    for i, was in enumerate(skipped, 1):
        assert torch.equal(layers[i].block, layers[i - 1].block) is was
    layers = encoder.eval()(features(wave(1, 4_000)), range(1, 9)).layers
    assert all(layer.feedforward is not None for layer in layers)


def test_padding_is_promised_only_where_it_holds() -> None:
    assert Ability.EXACT_PADDING in WaveformTransformerConfig.size("tiny").build().abilities
    encoder = shaken(_SMALL.replace(stem=WAV2VEC2.narrow(16)).build())
    assert Ability.EXACT_PADDING not in encoder.abilities
    x = wave(1, 8_000)
    padded = torch.nn.functional.pad(x, (0, 4_000))
    alone, batch = encoder(features(x)), encoder(features(padded, [8_000]))
    assert not torch.allclose(batch.x[:, :24], alone.x)


def test_dropout_acts_in_training_only() -> None:
    encoder = shaken(_SMALL.replace(attention_dropout=0.3, bias="wavlm").build())
    data = features(wave(1, 4_000))
    still = encoder(data).x
    torch.manual_seed(0)
    assert not torch.allclose(encoder.train()(data).x, still)
    torch.testing.assert_close(encoder.eval()(data).x, still)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "multiple of heads"),
        ({"position": ConvPositionConfig(groups=5)}, "groups of the positions"),
        ({"norm": "both"}, "unknown norm"),
        ({"bias": "wavml"}, "did you mean 'wavlm'"),
        ({"layer_drop": 1.0}, "layer_drop"),
        ({"stem_gradient": -1.0}, "stem_gradient"),
        ({"depth": 0}, "at least 1"),
        ({"position_place": "after"}, "position_place"),
    ],
)
def test_settings_that_contradict_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _SMALL.replace(**changes)


def test_unknown_sizes_and_short_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'wavlm_base'"):
        WaveformTransformerConfig.size("wavlm_bas")
    encoder = _SMALL.build()
    with pytest.raises(ConfigError, match="needs at least 400"):
        encoder.tokenize(features(torch.zeros(1, 399)))
    with pytest.raises(ConfigError, match="layers"):
        encoder(features(torch.zeros(1, 800)), [4])


def test_checkpoints_that_do_not_fit_are_refused() -> None:
    encoder = _SMALL.build()
    with pytest.raises(ConfigError, match="another family"):
        load_transformers_weights(encoder, {"a": torch.zeros(1)})
    state = reference("Hubert", do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True).state_dict()
    with pytest.raises(ConfigError, match="lacks 12 weights"):
        load_transformers_weights(_SMALL.replace(depth=4).build(), state)
    before = encoder.projection.weight.clone()
    with pytest.raises(ConfigError, match="has shape"):
        load_transformers_weights(encoder, state | {"encoder.layers.2.layer_norm.weight": torch.zeros(31)})
    assert torch.equal(encoder.projection.weight, before)
    old = {k.replace("parametrizations.weight.original0", "weight_g"): v for k, v in state.items()}
    old = {"hubert." + k.replace("parametrizations.weight.original1", "weight_v"): v for k, v in old.items()}
    assert load_transformers_weights(encoder, old | {"lm_head.weight": torch.zeros(1)}) == (
        "hubert.masked_spec_embed",
        "lm_head.weight",
    )
