"""The spectrogram transformer beside transformers' models and torch's layers, with the same random weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import ASTConfig, ASTModel, BertConfig, BertModel, ViTConfig, ViTModel

from auricle.audio.batch import Features
from auricle.encoders.parts.positions import sinusoid_table
from auricle.encoders.parts.transformer_block import TransformerBlock
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer

D, HEADS, DEPTH, MELS = 24, 2, 3, 32
SMALL = {"width": D, "depth": DEPTH, "heads": HEADS, "mels": MELS, "dropout": 0.0, "attention_dropout": 0.0}
EXACT = {"rtol": 1e-9, "atol": 1e-10}


def shaken(encoder: SpectrogramTransformer) -> SpectrogramTransformer:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.3)
    return encoder.double().eval()


def spectrogram(frames: int, mels: int = MELS, clips: int = 2) -> Features:
    x = torch.randn(clips, frames, mels, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return Features(x, torch.full((clips,), frames), 100.0, 0.25)


def vit_names(encoder: SpectrogramTransformer) -> dict[str, Tensor]:
    """Return our blocks under the names of transformers' vision transformers."""
    state = {}
    for i, block in enumerate(encoder.blocks):
        parts = dict(zip("qkv", block.qkv.weight.chunk(3), strict=True))
        biases = dict(zip("qkv", block.qkv.bias.chunk(3), strict=True))
        for letter in "qkv":
            state[f"layers.{i}.attention.{letter}_proj.weight"] = parts[letter]
            state[f"layers.{i}.attention.{letter}_proj.bias"] = biases[letter]
        for ours, theirs in (
            ("proj", "attention.o_proj"),
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
            ("fc1", "mlp.fc1"),
            ("fc2", "mlp.fc2"),
        ):
            module = block.get_submodule(ours)
            state[f"layers.{i}.{theirs}.weight"], state[f"layers.{i}.{theirs}.bias"] = module.weight, module.bias
    state["layernorm.weight"], state["layernorm.bias"] = encoder.norm.weight, encoder.norm.bias
    return state


def watched(layers: list[torch.nn.Module]) -> list[Tensor]:
    """Collect what these layers put out."""
    seen: list[Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    return seen


def test_vit() -> None:
    encoder = shaken(layout("audio_mae", positions="learned", frames=128, eps=1e-12, **SMALL).build())
    config = ViTConfig(
        hidden_size=D,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * D,
        image_size=(128, MELS),
        num_channels=1,
        patch_size=16,
        layer_norm_eps=1e-12,
    )
    vit = ViTModel(config, add_pooling_layer=False).double().eval()
    state = vit_names(encoder) | {
        "embeddings.cls_token": encoder.cls_token,
        "embeddings.position_embeddings": encoder.positions,
        "embeddings.patch_embeddings.projection.weight": encoder.patch_proj.weight.unflatten(1, (1, 16, 16)),
        "embeddings.patch_embeddings.projection.bias": encoder.patch_proj.bias,
    }
    assert state.keys() == vit.state_dict().keys()
    vit.load_state_dict(state)
    branches = watched([layer.mlp.fc2 for layer in vit.layers])
    data = spectrogram(128)
    with torch.no_grad():
        expected = vit(data.x.unsqueeze(1), output_hidden_states=True)
        tokens = encoder(data, range(DEPTH + 1))
    assert tokens.cls is not None
    assert tokens.layers is not None
    torch.testing.assert_close(torch.cat([tokens.cls, tokens.x], 1), expected.last_hidden_state, **EXACT)
    for number, layer in enumerate(tokens.layers):
        both = torch.cat([layer.cls, layer.block], 1)
        if number < DEPTH:  # their last one comes after the final norm
            torch.testing.assert_close(both, expected.hidden_states[number], **EXACT)
        if number:
            torch.testing.assert_close(layer.feedforward, branches[number - 1][:, 1:], **EXACT)


@pytest.mark.parametrize("frames", [128, 100])
def test_ast_with_overlapping_patches(frames: int) -> None:
    mels = 36
    encoder = shaken(layout("ast", frames=frames, eps=1e-12, **{**SMALL, "mels": mels}).build())
    config = ASTConfig(
        hidden_size=D,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * D,
        num_mel_bins=mels,
        max_length=frames,
    )
    ast = ASTModel(config).double().eval()
    grid = encoder.grid(frames)
    assert (grid.time, grid.freq) == ((frames - 16) // 10 + 1, 3)

    def to_frequency_major(x: Tensor) -> Tensor:
        return x.unflatten(1, (grid.time, grid.freq)).transpose(1, 2).flatten(1, 2)

    assert encoder.positions is not None
    table = torch.cat([encoder.positions[:, :2], to_frequency_major(encoder.positions[:, 2:])], 1)
    weight = encoder.patch_proj.weight.unflatten(1, (1, 16, 16)).transpose(2, 3)
    state = vit_names(encoder) | {
        "embeddings.cls_token": encoder.cls_token[:, :1],
        "embeddings.distillation_token": encoder.cls_token[:, 1:],
        "embeddings.position_embeddings": table,
        "embeddings.patch_embeddings.projection.weight": weight,
        "embeddings.patch_embeddings.projection.bias": encoder.patch_proj.bias,
    }
    assert state.keys() == ast.state_dict().keys()
    ast.load_state_dict(state)
    data = spectrogram(frames, mels)
    with torch.no_grad():
        expected, tokens = ast(data.x), encoder(data)
    ours = torch.cat([tokens.cls, to_frequency_major(tokens.x)], 1)
    torch.testing.assert_close(ours, expected.last_hidden_state, **EXACT)
    torch.testing.assert_close(encoder.pool(tokens), expected.pooler_output, **EXACT)


@pytest.mark.parametrize("name", ["mockingjay", "audio_albert"])
def test_bert_on_frames(name: str) -> None:
    changes = {**SMALL, "patch": (1, MELS), "frames": 60}
    encoder = shaken(layout(name, **changes).build())
    config = BertConfig(
        vocab_size=2,
        hidden_size=D,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * D,
        max_position_embeddings=60,
        layer_norm_eps=1e-12,
    )
    bert = BertModel(config, add_pooling_layer=False).double().eval()
    state = {
        "embeddings.word_embeddings.weight": torch.zeros(2, D),
        "embeddings.token_type_embeddings.weight": torch.zeros(2, D),
        # Single precision, as the encoder holds its table.
        "embeddings.position_embeddings.weight": sinusoid_table(60, D).float(),
        "embeddings.LayerNorm.weight": encoder.norm_pre.weight,
        "embeddings.LayerNorm.bias": encoder.norm_pre.bias,
    }
    for i in range(DEPTH):
        block = encoder.blocks[0 if name == "audio_albert" else i]
        query_key_value = zip(block.qkv.weight.chunk(3), block.qkv.bias.chunk(3), strict=True)
        for part, (weight, bias) in zip(("query", "key", "value"), query_key_value, strict=True):
            state[f"encoder.layer.{i}.attention.self.{part}.weight"] = weight
            state[f"encoder.layer.{i}.attention.self.{part}.bias"] = bias
        for ours, theirs in (
            ("proj", "attention.output.dense"),
            ("norm1", "attention.output.LayerNorm"),
            ("fc1", "intermediate.dense"),
            ("fc2", "output.dense"),
            ("norm2", "output.LayerNorm"),
        ):
            module = block.get_submodule(ours)
            state[f"encoder.layer.{i}.{theirs}.weight"] = module.weight
            state[f"encoder.layer.{i}.{theirs}.bias"] = module.bias
    assert state.keys() == bert.state_dict().keys()
    bert.load_state_dict(state)
    branches = watched([layer.output.dense for layer in bert.encoder.layer])
    data = spectrogram(60)
    data = replace(data, lengths=torch.tensor([60, 37]))
    mask = (torch.arange(60) < data.lengths.unsqueeze(1)).long()
    with torch.no_grad():
        projected = encoder.patch_proj(data.x)
        expected = bert(inputs_embeds=projected, attention_mask=mask, output_hidden_states=True)
        tokens = encoder(data, range(DEPTH + 1))
    assert tokens.layers is not None
    for number, layer in enumerate(tokens.layers):
        for row, length in enumerate((60, 37)):
            torch.testing.assert_close(layer.block[row, :length], expected.hidden_states[number][row, :length], **EXACT)
            if number:
                assert layer.feedforward is not None
                torch.testing.assert_close(layer.feedforward[row, :length], branches[number - 1][row, :length], **EXACT)


def test_eat_is_torchs_post_norm_layer_behind_a_norm() -> None:
    encoder = shaken(layout("eat", frames=128, **SMALL).build())
    data = spectrogram(128)
    with torch.no_grad():
        tokens = encoder.tokenize(data)
        x = torch.nn.functional.layer_norm(
            torch.cat([tokens.cls, tokens.x], 1), (D,), encoder.norm_pre.weight, encoder.norm_pre.bias, 1e-6
        )
        for block in encoder.blocks:
            layer = torch.nn.TransformerEncoderLayer(
                D, HEADS, 4 * D, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, dtype=torch.float64
            ).train()  # evaluation would take a fused path
            layer.load_state_dict(
                {
                    "self_attn.in_proj_weight": block.qkv.weight,
                    "self_attn.in_proj_bias": block.qkv.bias,
                    **{
                        f"{theirs}.{kind}": getattr(block.get_submodule(ours), kind)
                        for ours, theirs in (
                            ("proj", "self_attn.out_proj"),
                            ("fc1", "linear1"),
                            ("fc2", "linear2"),
                            ("norm1", "norm1"),
                            ("norm2", "norm2"),
                        )
                        for kind in ("weight", "bias")
                    },
                }
            )
            x = layer(x)
        out = encoder.contextualize(tokens)
    torch.testing.assert_close(torch.cat([out.cls, out.x], 1), x, **EXACT)
    torch.testing.assert_close(encoder.pool(out), x[:, 0], **EXACT)


@pytest.mark.parametrize("post_norm", [False, True])
def test_layer_scale_is_a_factor_on_each_branch(post_norm: bool) -> None:
    scaled = TransformerBlock(D, HEADS, 2 * D, post_norm=post_norm, layer_scale=0.1).double()
    plain = TransformerBlock(D, HEADS, 2 * D, post_norm=post_norm).double()
    with torch.no_grad():
        scaled.scale1.copy_(torch.linspace(-1, 1, D))
        scaled.scale2.copy_(torch.linspace(2, 0, D))
        plain.load_state_dict({n: p for n, p in scaled.state_dict().items() if not n.startswith("scale")})
        for layer, scale in ((plain.proj, scaled.scale1), (plain.fc2, scaled.scale2)):
            layer.weight.mul_(scale.unsqueeze(1))
            layer.bias.mul_(scale)
        x = torch.randn(2, 7, D, dtype=torch.float64)
        torch.testing.assert_close(scaled(x)[0], plain(x)[0], **EXACT)
    scaled.reset_scales()
    assert bool((scaled.scale1 == 0.1).all())


def test_attention_dropout_drops_weights_and_nothing_else() -> None:
    block = TransformerBlock(D, HEADS, 2 * D, attention_dropout=1e-12).double()
    mask = torch.arange(9)[None, None, None] < torch.tensor([9, 5]).view(2, 1, 1, 1)
    x = torch.randn(2, 9, D, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block.train().attention(x, mask), block.eval().attention(x, mask), **EXACT)
    block.attention_dropout = 0.5
    block.train()
    with torch.no_grad():
        torch.manual_seed(0)
        one = block.attention(x, mask)
        torch.manual_seed(0)
        same, other = block.attention(x, mask), block.attention(x, mask)
        assert torch.equal(one, same)
        assert not torch.allclose(one, other)
        torch.manual_seed(0)
        mean = torch.stack([block.attention(x, mask) for _ in range(3000)]).mean(0)
        torch.testing.assert_close(mean, block.eval().attention(x, mask), atol=0.03, rtol=0)
