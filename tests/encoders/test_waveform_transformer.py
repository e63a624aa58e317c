"""Waveform transformers beside those of `transformers` on the same random weights, and what those leave open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from waveform_references import FAMILIES, SMALL, STACKED, features, shaken, wave

from auricle.audio.frontends.waveform import WaveformConfig
from auricle.encoders.contract import Ability
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2
from auricle.encoders.waveform_transformer import WaveformTransformer, WaveformTransformerConfig
from auricle.errors import AudioError, ConfigError
from auricle.zoo.families.waveform import load_transformers_weights


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
        encoder = shaken(SMALL.replace(norm=norm).build())
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


@pytest.mark.parametrize("bias", ["wavlm", "alibi"])
def test_initialising_again_equals_building(bias: str) -> None:
    config = SMALL.replace(bias=bias, stem=WAV2VEC2.narrow(16))
    built = config.build(torch.Generator().manual_seed(3))
    again = shaken(config.build()).float()
    again.initialise(torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), again.parameters(), strict=True))


def test_every_size_builds_and_travels_as_json() -> None:
    for name in WaveformTransformerConfig.sizes:
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
            slope = 2.0 ** (-8 * (head + 1) / heads) * max(encoder.relative.scale[head].item(), 0.0)
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
    config = SMALL.replace(bias="alibi", position=STACKED)
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
    encoder = shaken(SMALL.replace(bias=bias, position=STACKED).build())
    tokens = encoder.tokenize(features(wave(2, 8_000), [8_000, 5_000]))
    every = torch.arange(tokens.grid.tokens).expand(2, -1)
    whole, kept = encoder.contextualize(tokens), encoder.contextualize(tokens.keep(every))
    torch.testing.assert_close(kept.x[tokens.valid], whole.x[tokens.valid], rtol=1e-9, atol=1e-9)


def test_positions_before_hiding_or_after() -> None:
    """`tokenize`: a visible token tells of its hidden neighbour; `context`: it doesn't."""
    for place, leaks in (("tokenize", True), ("context", False)):
        encoder = shaken(SMALL.replace(position_place=place).build())
        x = wave(1, 8_000)
        other = x.clone()
        other[0, 12 * 320 : 12 * 320 + 100] += 1.0  # seen by tokens 11 and 12 only
        kept = torch.tensor([[3, 9, 14, 20]])
        one, two = (encoder.contextualize(encoder.tokenize(features(w)).keep(kept)).x for w in (x, other))
        assert torch.allclose(one, two) is not leaks
    whole = wave(1, 8_000)
    outputs = [shaken(SMALL.replace(position_place=p).build())(features(whole)).x for p in ("tokenize", "context")]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)


def test_the_stem_gradient_is_scaled() -> None:
    grads = {}
    for factor in (1.0, 0.1, 0.0):
        encoder = shaken(SMALL.replace(stem_gradient=factor).build())
        encoder(features(wave(1, 4_000))).x.pow(3).sum().backward()
        grads[factor] = (encoder.stem.convs[0].weight.grad, encoder.projection.weight.grad)
    torch.testing.assert_close(grads[0.1][0], grads[1.0][0] * 0.1)
    assert grads[0.0][0] is None
    torch.testing.assert_close(grads[0.0][1], grads[1.0][1])


def test_layer_drop_skips_blocks_in_training_only() -> None:
    encoder = shaken(SMALL.replace(layer_drop=0.5, depth=8).build()).train()
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
    encoder = shaken(SMALL.replace(stem=WAV2VEC2.narrow(16)).build())
    assert Ability.EXACT_PADDING not in encoder.abilities
    x = wave(1, 8_000)
    padded = torch.nn.functional.pad(x, (0, 4_000))
    alone, batch = encoder(features(x)), encoder(features(padded, [8_000]))
    assert not torch.allclose(batch.x[:, :24], alone.x)


def test_dropout_acts_in_training_only() -> None:
    encoder = shaken(SMALL.replace(attention_dropout=0.3, bias="wavlm").build())
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
        ({"norm": "both"}, "norm is 'both'"),
        ({"bias": "wavml"}, "did you mean 'wavlm'"),
        ({"layer_drop": 1.0}, "layer_drop"),
        ({"stem_gradient": -1.0}, "stem_gradient"),
        ({"depth": 0}, "at least 1"),
        ({"position_place": "after"}, "position_place"),
    ],
)
def test_settings_that_contradict_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SMALL.replace(**changes)


def test_a_clip_without_a_whole_token_in_a_longer_batch_stays_finite() -> None:
    for bias in ("none", "wavlm", "alibi"):
        encoder = shaken(SMALL.replace(bias=bias).build()).train()
        x = wave(2, 4_000)
        x[1, 399:] = 0
        tokens = encoder(features(x, [4_000, 399]))
        assert tokens.valid.sum(1).tolist() == [12, 0]
        assert tokens.x.isfinite().all()
        pooled = encoder.pool(tokens)
        assert not pooled[1].any()
        pooled.pow(2).sum().backward()
        assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_ten_seconds_have_499_tokens_at_50_hz() -> None:
    encoder = SMALL.build()
    assert [encoder.grid(int(s * 16_000)).time for s in (0.5, 1.0, 2.37, 10.0)] == [24, 49, 118, 499]
    assert (encoder.grid(160_000).freq, encoder.grid(160_000).rate) == (1, 50.0)


def test_any_clip_through_the_front_end_and_a_frozen_encoder() -> None:
    frozen = FrozenEncoder(WaveformConfig(rate=16_000, normalise="clip").build(), SMALL.build(), name="small")
    clips = [np.random.default_rng(i).standard_normal(n).astype(np.float32) for i, n in enumerate((9_000, 4_001, 700))]
    together, alone = frozen.embed(clips, 16_000), [frozen.embed(clip, 16_000) for clip in clips]
    assert together.shape == (3, 32)
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(AudioError, match="shorter than the encoder needs: 300 samples of 400"):
        frozen.embed(clips[0][:300], 16_000)


def test_unknown_sizes_and_short_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'wavlm_base'"):
        WaveformTransformerConfig.size("wavlm_bas")
    encoder = SMALL.build()
    with pytest.raises(ConfigError, match="needs at least 400"):
        encoder.tokenize(features(torch.zeros(1, 399)))
    with pytest.raises(ConfigError, match="layers"):
        encoder(features(torch.zeros(1, 800)), [4])
