"""Weights of LAION's CLAP audio encoder from transformers, under the names of `HtsAt`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from auricle.errors import ConfigError
from auricle.zoo.safe_load import below_prefix, joined_qkv

_BLOCK = {
    "layernorm_before": "norm1",
    "attention.output.dense": "attention.proj",
    "layernorm_after": "norm2",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
}


def hts_at_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict for `HtsAt` from one of transformers' `ClapAudioModel`, `ClapModel` or a part of them.

    Its encoder (arXiv 2211.06687) is HTS-AT; the rest of the state, such as the text tower and the projections, is
    ignored. The sizes `base` and `large` of `HtsAtConfig` are those of the published weights.

    Raises:
        ConfigError: the state holds no CLAP audio encoder, one with feature fusion, or an incomplete one.
    """
    end = "patch_embed.proj.weight"
    inner = below_prefix(state, end, "ClapAudioModel or ClapModel")
    if any(name.startswith("patch_embed.fusion_model") for name in inner):
        raise ConfigError("found a CLAP encoder with feature fusion, which HtsAt does not have; load an unfused one")
    weights: dict[str, Tensor] = {}
    for name, value in inner.items():
        top, _, rest = name.partition(".")
        if top == "layers":
            stage, part, rest = rest.split(".", 2)
            if part == "downsample":
                weights[f"merges.{stage}.{rest}"] = value
            else:
                number, inside = rest.split(".", 1)
                weights.update(_block(f"stages.{stage}.blocks.{number}", inside, value, inner, name))
        elif top == "batch_norm":
            weights[f"input_norm.{rest}"] = value
        elif top == "norm":
            weights[name] = value
        elif top == "patch_embed":
            kind, leaf = rest.split(".")
            # A convolution with stride = kernel is a linear layer on flattened patches.
            weights[f"patch_{kind}.{leaf}"] = value.flatten(1) if name == end else value
    return weights


def _block(place: str, inside: str, value: Tensor, inner: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Map one entry of a block; queries, keys and values are joined at the query."""
    path, _, leaf = inside.rpartition(".")
    if inside == "attention.self.relative_position_bias_table":
        return {f"{place}.attention.table": value}
    if path == "attention.self.query":
        parts = [f".{part}." for part in ("query", "key", "value")]
        return {f"{place}.attention.qkv.{leaf}": joined_qkv(inner, name, ".query.", parts)}
    if path in _BLOCK:
        return {f"{place}.{_BLOCK[path]}.{leaf}": value}
    return {}
