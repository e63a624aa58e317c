"""The Conformer: equal to transformers' on the same weights, to slow loops, counts, grids, masked norms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.conformer import Conformer, ConformerConfig
from auricle.encoders.contract import Grid, Tokens
from auricle.encoders.parts.conformer_attention import ConformerAttention, by_distance_to_by_key, place_table, rotate
from auricle.encoders.parts.conformer_block import ConvolutionModule, MaskedGroupNorm
from auricle.encoders.parts.frame_subsampling import FrameSubsampling
from auricle.errors import ConfigError
from auricle.zoo.families.conformer import conformer_weights

SMALL = ConformerConfig(width=16, depth=2, heads=2, kernel=5, mels=12, channels=4, dropout=0.0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shaken(model: torch.nn.Module) -> Any:
    """Move weights and running statistics far from where they start."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator, dtype=torch.float64) * 0.3
                value.copy_((value + noise).abs() + 0.1 if name.endswith("running_var") else value + noise)
    return model.double().eval()


@pytest.mark.parametrize(("theirs", "ours"), [("relative", "relative"), ("rotary", "rotary_before"), (None, "none")])
@torch.no_grad()
def test_it_equals_wav2vec2_conformer_on_the_same_weights(theirs: str | None, ours: Any) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as published

    config = transformers.Wav2Vec2ConformerConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        hidden_act="swish",
        conv_depthwise_kernel_size=31,
        position_embeddings_type=theirs,
        num_conv_pos_embedding_groups=4,
    )
    torch.manual_seed(0)  # its first weights come from the global generator
    reference = shaken(published.Wav2Vec2ConformerEncoder(config))
    if theirs == "rotary":
        # Not a weight: undo what the shaking did to it.
        reference.embed_positions.inv_freq = 10000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    settings = ConformerConfig(width=32, depth=3, heads=4, positions=ours, final_norm=True, dropout=0.0)
    model = settings.build().double().eval()
    missing, unexpected = model.load_state_dict(conformer_weights(reference.state_dict()), strict=False)
    assert not unexpected
    assert all(name.startswith("subsampling.") for name in missing)
    x = drawn(2, 50, 32)
    expected = reference(x, output_hidden_states=False).last_hidden_state
    y = model.contextualize(Tokens(x, Grid(50, 1, 25.0))).x
    # Their table of sinusoids is float32.
    torch.testing.assert_close(y, expected, atol=1e-6 if theirs == "relative" else 1e-12, rtol=0)


def test_weights_of_other_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="found 0 names"):
        conformer_weights({"x": torch.zeros(1)})


@pytest.mark.parametrize(
    ("size", "millions"),
    [("small", 8.1), ("base", 25.4), ("large", 107.5), ("xl", 580), ("xxl", 1010), ("g", 7800), ("tiny", 2.0)],
)
def test_parameter_counts_of_the_blocks(size: str, millions: float) -> None:
    with torch.device("meta"):
        model = ConformerConfig.size(size).build()
    count = sum(p.numel() for p in model.blocks.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=5e-3 if millions > 500 else 0, abs=0.051)


@pytest.mark.parametrize(
    ("how", "counts"),
    [
        ("conv2d", {50: 13, 100: 25, 237: 60, 1000: 250}),
        ("stack", {50: 13, 100: 25, 237: 60, 1000: 250}),
        ("conv2d_valid", {50: 11, 100: 24, 237: 58, 1000: 249}),
        ("none", {50: 50, 100: 100, 237: 237, 1000: 1000}),
    ],
)
def test_grid_at_half_a_second_one_two_and_ten(how: Any, counts: dict[int, int]) -> None:
    model = SMALL.replace(subsampling=how).build()
    for frames, count in counts.items():
        assert model.grid(frames) == Grid(count, 1, 100.0 if how == "none" else 25.0)
        assert model.subsampling(torch.zeros(1, frames, 12), torch.tensor([frames]), 0.0).shape == (1, count, 16)


@torch.no_grad()
def test_relative_attention_equals_a_loop_over_pairs() -> None:
    N, D, H, d = 7, 12, 3, 4
    layer = shaken(ConformerAttention(D, H, "relative"))
    x = drawn(1, N, D)
    mask = torch.ones(1, 1, 1, N, dtype=torch.bool)
    mask[..., -2:] = False
    y = layer(x, place_table(x, H, "relative"), mask)
    q, k, v = layer.qkv(x[0]).view(N, 3, H, d).unbind(1)
    expected = torch.zeros(N, H, d, dtype=torch.float64)
    for i in range(N):
        for h in range(H):
            scores = []
            for j in range(N - 2):
                angle = (i - j) * 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
                sinusoid = torch.stack([angle.sin(), angle.cos()], 1).flatten()
                place = (layer.position_proj.weight @ sinusoid).view(H, d)[h]
                content = (q[i, h] + layer.content_bias[h]) @ k[j, h]
                scores.append((content + (q[i, h] + layer.position_bias[h]) @ place) / d**0.5)
            expected[i, h] = torch.stack(scores).softmax(0) @ v[: N - 2, h]
    torch.testing.assert_close(y[0], layer.proj(expected.flatten(1)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("N", [1, 2, 5])
def test_scores_by_distance_become_scores_by_key(N: int) -> None:
    scores = drawn(2, 3, N, 2 * N - 1)
    by_key = by_distance_to_by_key(scores)
    for i in range(N):
        for j in range(N):
            assert torch.equal(by_key[..., i, j], scores[..., i, N - 1 - (i - j)])


@torch.no_grad()
def test_rotary_turns_queries_and_keys_as_complex_numbers() -> None:
    N, D, H, d = 9, 16, 2, 8
    x = drawn(1, N, D)
    table = place_table(x, H, "rotary")
    assert table is not None
    q = drawn(H, N, d, seed=1)
    numbers = torch.complex(q[..., : d // 2], q[..., d // 2 :])
    frequency = 10000.0 ** (-torch.arange(d // 2, dtype=torch.float64) * 2 / d)
    angle = torch.arange(N, dtype=torch.float64).unsqueeze(1) * frequency
    turned = numbers * torch.polar(torch.ones_like(angle), angle)
    torch.testing.assert_close(rotate(q, table), torch.cat([turned.real, turned.imag], -1), atol=1e-12, rtol=0)
    # And the attention that uses it, by the definition.
    layer = shaken(ConformerAttention(D, H, "rotary"))
    q, k, v = layer.qkv(x).view(N, 3, H, d).permute(1, 2, 0, 3)
    weight = (rotate(q, table) @ rotate(k, table).mT / d**0.5).softmax(-1)
    expected = layer.proj((weight @ v).transpose(0, 1).flatten(1))
    torch.testing.assert_close(layer(x, table)[0], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("positions", "alike"), [("relative", True), ("rotary", True), ("rotary_before", False), ("none", True)]
)
@torch.no_grad()
def test_only_distances_count(positions: Any, alike: bool) -> None:
    """The same stretch of tokens, attending to itself alone, comes out the same wherever it stands."""
    layer = shaken(ConformerAttention(12, 3, positions))
    x = drawn(1, 20, 12)
    x[:, 10:16] = x[:, 2:8]
    out = []
    for start in (2, 10):
        mask = torch.zeros(1, 1, 1, 20, dtype=torch.bool)
        mask[..., start : start + 6] = True
        out.append(layer(x, place_table(x, 3, positions), mask)[:, start : start + 6])
    assert torch.allclose(out[0], out[1], atol=1e-12, rtol=0) is alike


@torch.no_grad()
def test_batch_norm_knows_valid_frames_only() -> None:
    module = shaken(ConvolutionModule(4, 5, "batch")).train()
    start = module.middle.running_mean.clone(), module.middle.running_var.clone()
    seen: list[Tensor] = []
    module.depthwise.register_forward_hook(lambda _m, _i, out: seen.append(out.transpose(1, 2)))
    real = torch.arange(10) < torch.tensor([[10], [6], [1]])
    module(drawn(3, 10, 4), real)
    valid = seen[0][real]
    assert len(valid) == 17
    torch.testing.assert_close(module.middle.running_mean, start[0] * 0.9 + valid.mean(0) * 0.1)
    torch.testing.assert_close(module.middle.running_var, start[1] * 0.9 + valid.var(0) * 0.1)


def test_group_norm_equals_that_of_each_clip_alone() -> None:
    x = drawn(2, 10, 4) * 3 + 1
    real = torch.arange(10) < torch.tensor([[10], [6]])
    ours, torchs = shaken(MaskedGroupNorm(4)), torch.nn.GroupNorm(1, 4).double()
    torchs.load_state_dict(ours.state_dict())
    y = ours(x, real)
    for row, end in ((0, 10), (1, 6)):
        alone = torchs(x[row : row + 1, :end].transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(y[row, :end], alone[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(ours(x), torchs(x.transpose(1, 2)).transpose(1, 2), atol=1e-12, rtol=0)


@torch.no_grad()
def test_training_does_not_see_padding_either() -> None:
    """In training too a padded batch gives valid tokens and batch statistics that know nothing of the padding."""
    outs, means = [], []
    for fill in (0.0, 7.0):
        model = shaken(SMALL.build()).train()
        x = drawn(3, 40, 12)
        lengths = torch.tensor([40, 21, 9])
        for row, end in zip(x, lengths, strict=True):
            row[end:] = fill
        tokens = model(Features(x, lengths, 100.0, fill))
        outs.append(tokens.x[tokens.valid])
        means.append(model.blocks[1].convolution.middle.running_mean.clone())
    torch.testing.assert_close(*outs, atol=1e-12, rtol=0)
    torch.testing.assert_close(*means, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("kernel", "causal", "before", "after"), [(31, False, 15, 15), (32, False, 15, 16), (5, True, 4, 0)]
)
@torch.no_grad()
def test_reach_of_the_convolution(kernel: int, causal: bool, before: int, after: int) -> None:
    module = shaken(ConvolutionModule(4, kernel, "layer", causal))
    x = drawn(1, 80, 4)
    changed = x.clone()
    changed[:, 40] += 1 + torch.arange(4)
    moved = ((module(changed) - module(x)).abs().amax(2)[0] > 1e-12).nonzero().flatten()
    assert (moved.min(), moved.max()) == (40 - after, 40 + before)


@torch.no_grad()
def test_subsampling_equals_plain_convolutions() -> None:
    for how, padding in (("conv2d", 1), ("conv2d_valid", 0)):
        module = shaken(FrameSubsampling(how, 12, 8, 4))  # type: ignore[arg-type]
        x = drawn(1, 37, 12)
        y = F.relu(F.conv2d(x[None], module.conv1.weight, module.conv1.bias, 2, padding))
        y = F.relu(F.conv2d(y, module.conv2.weight, module.conv2.bias, 2, padding))
        expected = torch.stack([module.project(y[0, :, t].flatten()) for t in range(y.shape[2])])
        torch.testing.assert_close(module(x, torch.tensor([37]), 0.0)[0], expected, atol=1e-12, rtol=0)


@torch.no_grad()
def test_stacks_are_four_frames_the_last_one_completed() -> None:
    module = shaken(FrameSubsampling("stack", 3, 5, 1))
    x = drawn(1, 10, 3)
    full = torch.cat([x[0], torch.full((2, 3), 0.7, dtype=torch.float64)])
    expected = torch.stack([module.project(full[4 * t : 4 * t + 4].flatten()) for t in range(3)])
    torch.testing.assert_close(module(x, torch.tensor([10]), 0.7)[0], expected, atol=1e-12, rtol=0)
    causal = FrameSubsampling("stack", 3, 5, 1, causal=True).double()
    causal.load_state_dict(module.state_dict())
    torch.testing.assert_close(causal(x, torch.tensor([10]), 0.7)[0], expected[:2], atol=1e-12, rtol=0)


@torch.no_grad()
def test_feedforward_is_the_branch_before_it_is_halved() -> None:
    model: Conformer = shaken(SMALL.build())
    seen: list[Tensor] = []
    model.blocks[1].ff2.register_forward_hook(lambda _m, inputs, out: seen.extend([inputs[0], out]))
    layer = model(Features(drawn(2, 40, 12), torch.tensor([40, 40]), 100.0), (2,)).layers[0]
    assert torch.equal(layer.feedforward, seen[1])
    torch.testing.assert_close(layer.block, model.blocks[1].norm(seen[0] + seen[1] / 2))


def test_weights_come_from_the_generator_only() -> None:
    built = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        built.append(SMALL.build(torch.Generator().manual_seed(5)).state_dict())
    other = SMALL.build(torch.Generator().manual_seed(6)).state_dict()
    assert all(torch.equal(a, b) for a, b in zip(*(b.values() for b in built), strict=True))
    assert not torch.equal(built[0]["blocks.0.ff1.fc1.weight"], other["blocks.0.ff1.fc1.weight"])


def test_dropped_tokens_are_refused() -> None:
    model = SMALL.build()
    tokens = model.tokenize(Features(torch.zeros(2, 40, 12), torch.tensor([40, 40]), 100.0))
    with pytest.raises(ConfigError, match=r"needs all of them.*MASK"):
        model.contextualize(tokens.keep(torch.zeros(2, 1, dtype=torch.int64)))


def test_too_short_an_input_is_refused() -> None:
    for changes, least in (
        ({"subsampling": "conv2d_valid"}, 7),
        ({"causal": True, "conv_norm": "layer"}, 4),
    ):
        model = SMALL.replace(**changes).build()
        short = Features(torch.zeros(1, least - 1, 12), torch.tensor([least - 1]), 100.0)
        with pytest.raises(ConfigError, match=f"needs at least {least} for one token"):
            model(short)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"causal": True}, "a causal Conformer needs 'layer'"),
        ({"width": 30}, r"width 30 must be a multiple of heads \(4\)"),
        ({"width": 12, "positions": "rotary"}, "the width of a head, 3, must be even"),
        ({"width": 9, "heads": 3}, "width 9 must be even"),
        ({"positions": "rotory"}, "did you mean 'rotary'"),
        ({"conv_norm": "instance"}, "conv_norm is 'instance'"),
        ({"subsampling": "conv"}, "subsampling is 'conv'"),
        ({"mels": 5, "subsampling": "conv2d_valid"}, "at least 7"),
        ({"kernel": 0}, "kernel is 0"),
        ({"channels": 0}, "channels is 0"),
        ({"dropout": 1.0}, "dropout"),
        ({"mlp_ratio": 0.0}, "mlp_ratio"),
        ({"frame_rate": 0.0}, "frame_rate"),
    ],
)
def test_settings_that_contradict_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConformerConfig(**changes)


def test_unknown_size() -> None:
    with pytest.raises(ConfigError, match="did you mean 'large'"):
        ConformerConfig.size("larg")


def test_json() -> None:
    assert ConformerConfig.from_json(SMALL.to_json()) == SMALL
