"""Weights of wav2vec 2.0's Conformer from transformers, under the names of `Conformer`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from auricle.zoo.safe_load import below_prefix, joined_qkv

_BLOCK = {
    "ffn1_layer_norm": "ff1.norm",
    "ffn1.intermediate_dense": "ff1.fc1",
    "ffn1.output_dense": "ff1.fc2",
    "self_attn_layer_norm": "norm_attention",
    "self_attn.linear_out": "attention.proj",
    "self_attn.linear_pos": "attention.position_proj",
    "conv_module.layer_norm": "convolution.norm",
    "conv_module.pointwise_conv1": "convolution.pointwise1",
    "conv_module.depthwise_conv": "convolution.depthwise",
    "conv_module.batch_norm": "convolution.middle",
    "conv_module.pointwise_conv2": "convolution.pointwise2",
    "ffn2_layer_norm": "ff2.norm",
    "ffn2.intermediate_dense": "ff2.fc1",
    "ffn2.output_dense": "ff2.fc2",
    "final_layer_norm": "norm",
}


def conformer_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return blocks and last norm for `Conformer` from the state of transformers' `Wav2Vec2ConformerModel`.

    Its convolutions over samples have no counterpart, and the subsampling keeps its weights: load the result with
    `strict=False`. The encoder needs `final_norm=True`, `conv_norm='batch'` and `positions` `relative` or
    `rotary_before`, as in the model.

    Raises:
        ConfigError: the state holds no such encoder, or an incomplete one.
    """
    inner = below_prefix(state, "layers.0.conv_module.depthwise_conv.weight", "Wav2Vec2ConformerModel")
    weights: dict[str, Tensor] = {}
    for name, value in inner.items():
        if name.startswith("layer_norm."):
            weights[name.removeprefix("layer_")] = value
        if not name.startswith("layers."):
            continue
        _, number, inside = name.split(".", 2)
        path, _, leaf = inside.rpartition(".")
        place = f"blocks.{number}"
        if inside == "self_attn.pos_bias_u":
            weights[f"{place}.attention.content_bias"] = value
        elif inside == "self_attn.pos_bias_v":
            weights[f"{place}.attention.position_bias"] = value
        elif path == "self_attn.linear_q":
            parts = [f"linear_{part}" for part in "qkv"]
            weights[f"{place}.attention.qkv.{leaf}"] = joined_qkv(inner, name, "linear_q", parts)
        elif path in _BLOCK:
            pointwise = path.startswith("conv_module.pointwise")
            weights[f"{place}.{_BLOCK[path]}.{leaf}"] = value.squeeze(2) if pointwise else value
    return weights
