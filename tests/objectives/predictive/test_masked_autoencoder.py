"""The masked autoencoder beside transformers' ViTMAEForPreTraining: same weights, same patches, same loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig

transformers = pytest.importorskip("transformers")

# Theirs takes squares only; positions and pixels still tell time from frequency.
FRAMES, MELS, PATCH, WIDTH, INSIDE = 64, 64, 16, 32, 24
CONFIG = MaskedPredictionConfig(
    mask=RandomMask(0.75),
    decoder=TransformerDecoderConfig(width=INSIDE, depth=2, heads=3),
    terms=(RegressionConfig(PatchTargetConfig(norm="patch"), name="patch_mse"),),
)


def linear_to(ours: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    ours.weight.data.copy_(weight)
    ours.bias.data.copy_(bias)


def block_to(ours: nn.Module, theirs: nn.Module) -> None:
    state = theirs.state_dict()
    qkv = [f"attention.{name}_proj" for name in "qkv"]
    linear_to(
        ours.qkv,  # type: ignore[arg-type]
        torch.cat([state[f"{name}.weight"] for name in qkv]),
        torch.cat([state[f"{name}.bias"] for name in qkv]),
    )
    for name, other in (
        ("proj", "attention.o_proj"),
        ("fc1", "mlp.fc1"),
        ("fc2", "mlp.fc2"),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
    ):
        linear_to(getattr(ours, name), state[f"{other}.weight"], state[f"{other}.bias"])


def pair() -> tuple[SpectrogramTransformer, MaskedPrediction, nn.Module]:
    """Return our encoder and objective, and theirs with the same weights."""
    torch.manual_seed(0)
    theirs = transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(
            hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=4 * WIDTH,
            image_size=(FRAMES, MELS), patch_size=PATCH, num_channels=1, decoder_num_attention_heads=3,
            decoder_hidden_size=INSIDE, decoder_num_hidden_layers=2, decoder_intermediate_size=4 * INSIDE,
            mask_ratio=0.75, norm_pix_loss=True, layer_norm_eps=1e-6, attn_implementation="eager",
        )
    ).double()  # fmt: skip
    for parameter in theirs.parameters():
        parameter.data.normal_(0, 0.2)
    encoder = layout("audio_mae", width=WIDTH, depth=2, heads=4, mels=MELS, frames=FRAMES).build().double()
    objective = CONFIG.build(encoder).double()
    vit, grid = theirs.vit, encoder.grid(FRAMES)
    projection = vit.embeddings.patch_embeddings.projection
    linear_to(encoder.patch_proj, projection.weight.flatten(1), projection.bias)
    encoder.cls_token.data.copy_(vit.embeddings.cls_token)  # type: ignore[union-attr]
    assert encoder.positions is not None
    vit.embeddings.position_embeddings.data.copy_(encoder.positions)
    for ours, their_block in zip(encoder.blocks, vit.layers, strict=True):
        block_to(ours, their_block)
    encoder.norm.weight.data.copy_(vit.layernorm.weight)
    encoder.norm.bias.data.copy_(vit.layernorm.bias)
    decoder, their_decoder = objective.decoder, theirs.decoder
    linear_to(decoder.embed, their_decoder.decoder_embed.weight, their_decoder.decoder_embed.bias)  # type: ignore[arg-type]
    decoder.mask_token.data.copy_(their_decoder.mask_token)  # type: ignore[union-attr]
    table = fixed(grid)
    their_decoder.decoder_pos_embed.data.copy_(torch.cat([torch.zeros(1, 1, INSIDE), table], 1))
    for ours, their_block in zip(decoder.blocks, their_decoder.decoder_layers, strict=True):  # type: ignore[arg-type]
        block_to(ours, their_block)
    decoder.norm.weight.data.copy_(their_decoder.decoder_norm.weight)  # type: ignore[union-attr]
    decoder.norm.bias.data.copy_(their_decoder.decoder_norm.bias)  # type: ignore[union-attr]
    linear_to(objective.terms[0].head, their_decoder.decoder_pred.weight, their_decoder.decoder_pred.bias)  # type: ignore[union-attr, arg-type]
    return encoder.eval(), objective.eval(), theirs.eval()


def fixed(grid: Grid) -> Tensor:
    """Sin-cos of both axes, written out: the band in the first half of the channels, the time step in the second."""
    table = torch.zeros(grid.tokens, INSIDE, dtype=torch.float64)
    quarter = INSIDE // 4
    for token in range(grid.tokens):
        for half, place in enumerate((token % grid.freq, token // grid.freq)):
            for k in range(quarter):
                angle = torch.tensor(place / 10000 ** (k / quarter), dtype=torch.float64)
                table[token, half * 2 * quarter + k] = angle.sin()
                table[token, half * 2 * quarter + quarter + k] = angle.cos()
    return table[None]


def test_loss_and_gradients_are_those_of_vit_mae() -> None:
    encoder, objective, theirs = pair()
    torch.manual_seed(3)
    x = torch.randn(3, FRAMES, MELS, dtype=torch.float64)
    view = View(Features(x, torch.full((3,), FRAMES), 100.0), torch.arange(3))
    # Both hide the tokens of the largest random numbers.
    noise = torch.rand(3, encoder.grid(FRAMES).tokens, generator=torch.Generator().manual_seed(7))
    ours = objective(encoder, [view], torch.Generator().manual_seed(7))
    other = theirs(x[:, None], noise=noise.double())
    torch.testing.assert_close(ours.total, other.loss.to(ours.total.dtype), rtol=1e-9, atol=1e-9)
    ours.total.backward()
    other.loss.backward()
    torch.testing.assert_close(
        encoder.patch_proj.weight.grad, theirs.vit.embeddings.patch_embeddings.projection.weight.grad.flatten(1)
    )
    torch.testing.assert_close(objective.decoder.mask_token.grad, theirs.decoder.mask_token.grad)  # type: ignore[union-attr]
    torch.testing.assert_close(encoder.cls_token.grad, theirs.vit.embeddings.cls_token.grad)  # type: ignore[union-attr]


def test_who_predicts_the_mean_of_each_patch_has_a_loss_of_one() -> None:
    encoder, objective, _ = pair()
    head = objective.terms[0].head  # type: ignore[union-attr]
    torch.nn.init.zeros_(head.weight)  # type: ignore[arg-type]
    torch.nn.init.zeros_(head.bias)  # type: ignore[arg-type]
    x = torch.randn(4, FRAMES, MELS, dtype=torch.float64)
    view = View(Features(x, torch.full((4,), FRAMES), 100.0), torch.arange(4))
    loss = objective(encoder, [view], torch.Generator().manual_seed(0))
    # The variance of a sample has one less in its denominator.
    assert float(loss.total.detach()) == pytest.approx(255 / 256, rel=1e-5)


def test_a_mask_that_leaves_nothing_visible_is_refused() -> None:
    encoder, _, _ = pair()
    short = View(Features(torch.zeros(2, 10, MELS, dtype=torch.float64), torch.full((2,), 10), 100.0), torch.arange(2))
    assert encoder.grid(10).tokens == 4
    with pytest.raises(ConfigError, match="longer clips"):
        MaskedPredictionConfig(mask=RandomMask(0.8)).build(encoder)(encoder, [short], torch.Generator())
