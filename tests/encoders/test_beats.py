"""BEATs beside a slow oracle that reads weights in the released names."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.beats import BEATs, BEATsConfig
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.errors import ConfigError
from auricle.zoo.families.waveform import load_fairseq_weights

_SMALL = BEATsConfig(
    width=32,
    embed=24,
    depth=3,
    heads=4,
    mels=32,
    position=ConvPositionConfig(kernel=8, groups=4),
    buckets=8,
    max_distance=10,
    dropout=0.0,
    attention_dropout=0.0,
)


def released(config: BEATsConfig) -> dict[str, Tensor]:
    """Return random weights in the names of the released checkpoints."""
    D, E, H, depth, k = config.width, config.embed, config.heads, config.depth, config.position.kernel
    shapes = {
        "patch_embedding.weight": (E, 1, 16, 16),
        "layer_norm.weight": (E,),
        "layer_norm.bias": (E,),
        "post_extract_proj.weight": (D, E),
        "post_extract_proj.bias": (D,),
        "encoder.pos_conv.0.weight_g": (1, 1, k),
        "encoder.pos_conv.0.weight_v": (D, D // config.position.groups, k),
        "encoder.pos_conv.0.bias": (D,),
        "encoder.layer_norm.weight": (D,),
        "encoder.layer_norm.bias": (D,),
    }
    for i in range(depth):
        p = f"encoder.layers.{i}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {f"{p}self_attn.{part}.weight": (D, D), f"{p}self_attn.{part}.bias": (D,)}
        shapes |= {f"{p}self_attn.grep_linear.weight": (8, D // H), f"{p}self_attn.grep_linear.bias": (8,)}
        shapes |= {f"{p}self_attn.grep_a": (1, H, 1, 1), f"{p}self_attn.relative_attention_bias.weight": (8, H)}
        shapes |= {f"{p}fc1.weight": (4 * D, D), f"{p}fc1.bias": (4 * D,)}
        shapes |= {f"{p}fc2.weight": (D, 4 * D), f"{p}fc2.bias": (D,)}
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {f"{p}{norm}.weight": (D,), f"{p}{norm}.bias": (D,)}
    g = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=g).double() * 0.2 for name, shape in shapes.items()}
    for name in state:
        if "norm.weight" in name or name.endswith(("grep_a", "weight_g")):
            state[name] = state[name] + 1
        if "relative_attention_bias" in name:
            state[name] = state["encoder.layers.0.self_attn.relative_attention_bias.weight"]
    return state


def bucket(offset: int, buckets: int = 8, farthest: int = 10) -> int:
    half, exact, distance = buckets // 2, buckets // 4, abs(offset)
    place = distance
    if distance >= exact:
        place = min(exact + int(math.log(distance / exact) / math.log(farthest / exact) * (half - exact)), half - 1)
    return place + half * (offset > 0)


def oracle(w: dict[str, Tensor], x: Tensor, config: BEATsConfig) -> list[Tensor]:
    """Return the input of the first block and the output of each, `(N, D)`, for one clip `x (T, F)`."""
    D, H, d = config.width, config.heads, config.width // config.heads
    y = F.conv2d(x[None, None], w["patch_embedding.weight"], stride=16).flatten(2)[0].T
    y = F.layer_norm(y, (config.embed,), w["layer_norm.weight"], w["layer_norm.bias"])
    y = y @ w["post_extract_proj.weight"].T + w["post_extract_proj.bias"]
    k = config.position.kernel
    v = w["encoder.pos_conv.0.weight_v"]
    weight = torch.stack(
        [w["encoder.pos_conv.0.weight_g"][0, 0, j] * v[..., j] / v[..., j].norm() for j in range(k)], 2
    )
    conv = F.conv1d(y.T[None], weight, w["encoder.pos_conv.0.bias"], padding=k // 2, groups=4)[0, :, :-1].T
    y = F.layer_norm(y + F.gelu(conv), (D,), w["encoder.layer_norm.weight"], w["encoder.layer_norm.bias"])
    states, N, alpha = [y], len(y), (2 * config.depth) ** 0.25
    for i in range(config.depth):
        p = f"encoder.layers.{i}."
        a = p + "self_attn."
        q, key, value = (y @ w[f"{a}{n}_proj.weight"].T + w[f"{a}{n}_proj.bias"] for n in "qkv")
        heads = []
        for h in range(H):
            part = slice(h * d, (h + 1) * d)
            scores = torch.empty(N, N).double()
            for m in range(N):
                eight = w[a + "grep_linear.weight"] @ q[m, part] + w[a + "grep_linear.bias"]
                first, second = torch.sigmoid(eight[:4].sum()), torch.sigmoid(eight[4:].sum())
                factor = first * (second * w[a + "grep_a"][0, h, 0, 0] - 1) + 2
                for n in range(N):
                    learned = w[a + "relative_attention_bias.weight"][bucket(n - m), h]
                    scores[m, n] = q[m, part] @ key[n, part] / math.sqrt(d) + factor * learned
            heads.append(scores.softmax(1) @ value[:, part])
        out = torch.cat(heads, 1) @ w[a + "out_proj.weight"].T + w[a + "out_proj.bias"]
        norm = [w[f"{p}self_attn_layer_norm.{n}"] for n in ("weight", "bias")]
        y = F.layer_norm(y * alpha + out, (D,), *norm)
        out = F.gelu(y @ w[p + "fc1.weight"].T + w[p + "fc1.bias"]) @ w[p + "fc2.weight"].T + w[p + "fc2.bias"]
        y = F.layer_norm(y * alpha + out, (D,), *[w[f"{p}final_layer_norm.{n}"] for n in ("weight", "bias")])
        states.append(y)
    return states


def loaded() -> tuple[BEATs, dict[str, Tensor]]:
    state, encoder = released(_SMALL), _SMALL.build().double().eval()
    assert load_fairseq_weights(encoder, state | {"predictor.weight": torch.zeros(1)}) == ("predictor.weight",)
    return encoder, state


def clip(frames: int) -> Tensor:
    return torch.randn(1, frames, 32, generator=torch.Generator().manual_seed(frames)).double()


def features(x: Tensor, lengths: list[int] | None = None) -> Features:
    return Features(x, torch.tensor(lengths or [x.shape[1]] * len(x)), 100.0)


def test_layers_equal_the_slow_oracle() -> None:
    encoder, state = loaded()
    x = clip(16 * 9 + 7)  # seven frames beyond the last whole patch
    tokens = encoder(features(x), range(4))
    for layer, expected in zip(tokens.layers, oracle(state, x[0], _SMALL), strict=True):
        torch.testing.assert_close(layer.block[0], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(tokens.x[0], tokens.layers[-1].block[0])
    torch.testing.assert_close(encoder.pool(tokens), tokens.x.mean(1))


def test_published_size_and_grid() -> None:
    with torch.device("meta"):
        encoder = BEATsConfig().build()
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(90.31, abs=0.005)
    assert encoder.grid(998).tokens == 496  # 10 s of frames of 25 ms every 10 ms
    for seconds in (0.5, 1.0, 2.37, 10.0):
        frames = int(seconds * 100) - 2
        assert (encoder.grid(frames).time, encoder.grid(frames).freq) == (frames // 16, 8)
    assert encoder.grid(998).rate == 6.25
    with torch.device("meta"):
        assert 3.5e6 < sum(p.numel() for p in BEATsConfig.size("tiny").build().parameters()) < 5e6


def test_visible_patches_alone_see_nothing_hidden() -> None:
    encoder, _ = loaded()
    x = clip(96)
    other = x.clone()
    other[:, 32:64, 16:] += 1.0  # patches 5 and 7
    kept = torch.tensor([[0, 3, 4, 6, 11]])
    one, two = (encoder.contextualize(encoder.tokenize(features(w)).keep(kept)).x for w in (x, other))
    assert torch.equal(one, two)
    every = torch.arange(12)[None]
    tokens = encoder.tokenize(features(x))
    whole, all_kept = encoder.contextualize(tokens), encoder.contextualize(tokens.keep(every))
    torch.testing.assert_close(all_kept.x, whole.x, rtol=1e-12, atol=1e-12)
    # Distances stay those of the original places: moving the same tokens elsewhere changes what they see.
    moved = encoder.contextualize(replace(tokens.keep(kept), index=torch.tensor([[0, 1, 2, 3, 4]])))
    assert not torch.allclose(moved.x, one)


def test_fresh_blocks_follow_deepnorm() -> None:
    block = _SMALL.replace(width=256, depth=12).build(torch.Generator().manual_seed(1)).blocks[0]
    beta, xavier = (8 * 12) ** -0.25, (2 / (256 + 256)) ** 0.5
    query, _, value = block.qkv.weight.detach().chunk(3)
    assert query.std().item() == pytest.approx(xavier, rel=0.02)
    assert value.std().item() == pytest.approx(beta * xavier, rel=0.02)
    assert block.fc1.weight.std().item() == pytest.approx(beta * (2 / (256 + 1024)) ** 0.5, rel=0.02)
    assert block.residual_scale == pytest.approx(24**0.25)


def test_settings_and_inputs_that_do_not_fit_are_refused() -> None:
    for changes, message in (
        ({"heads": 5}, "multiple of heads"),
        ({"mels": 40}, "patch height"),
        ({"depth": 0}, "at least 1"),
        ({"dropout": 1.0}, "dropout"),
    ):
        with pytest.raises(ConfigError, match=message):
            _SMALL.replace(**changes)
    with pytest.raises(ConfigError, match="did you mean 'base'"):
        BEATsConfig.size("bases")
    with pytest.raises(ConfigError, match="needs at least 16"):
        _SMALL.build()(features(clip(15)))
    with pytest.raises(ConfigError, match="patch_embedding"):
        load_fairseq_weights(_SMALL.build(), {"a": torch.zeros(1)})
    assert BEATsConfig.from_json(_SMALL.to_json()) == _SMALL
