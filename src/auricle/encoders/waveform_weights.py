"""Weights of published waveform transformers, read into ours.

The names are those of the files that `transformers` writes for Wav2Vec2Model, HubertModel, WavLMModel and
Data2VecAudioModel, with or without a head around them, and with weight normalisation under its old or its new name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from auricle.encoders.waveform_transformer import WaveformTransformer
from auricle.errors import ConfigError

_RULES = tuple(
    (re.compile(pattern + "$"), ours)
    for pattern, ours in (
        (r"feature_extractor\.conv_layers\.(\d+)\.conv\.(weight|bias)", r"stem.convs.\1.\2"),
        (r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.(weight|bias)", r"stem.norms.\1.\2"),
        (r"feature_projection\.layer_norm\.(weight|bias)", r"stem_norm.\1"),
        (r"feature_projection\.projection\.(weight|bias)", r"projection.\1"),
        (r"encoder\.pos_conv_embed\.conv\.bias", "position.convs.0.bias"),
        (r"encoder\.pos_conv_embed\.conv\.(?:weight_g|parametrizations\.weight\.original0)", "position.convs.0.gain"),
        (
            r"encoder\.pos_conv_embed\.conv\.(?:weight_v|parametrizations\.weight\.original1)",
            "position.convs.0.direction",
        ),
        (r"encoder\.pos_conv_embed\.layers\.(\d+)\.conv\.(weight|bias)", r"position.convs.\1.\2"),
        (r"encoder\.layer_norm\.(weight|bias)", r"norm.\1"),
        (r"encoder\.layers\.0\.attention\.rel_attn_embed\.weight", "relative.table"),
        (r"encoder\.layers\.(\d+)\.attention\.gru_rel_pos_const", r"blocks.\1.gate.scale"),
        (r"encoder\.layers\.(\d+)\.attention\.gru_rel_pos_linear\.(weight|bias)", r"blocks.\1.gate.project.\2"),
        (r"encoder\.layers\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)", r"blocks.\1.qkv.\3.\2"),
        (r"encoder\.layers\.(\d+)\.attention\.out_proj\.(weight|bias)", r"blocks.\1.proj.\2"),
        (r"encoder\.layers\.(\d+)\.layer_norm\.(weight|bias)", r"blocks.\1.norm1.\2"),
        (r"encoder\.layers\.(\d+)\.feed_forward\.intermediate_dense\.(weight|bias)", r"blocks.\1.fc1.\2"),
        (r"encoder\.layers\.(\d+)\.feed_forward\.output_dense\.(weight|bias)", r"blocks.\1.fc2.\2"),
        (r"encoder\.layers\.(\d+)\.final_layer_norm\.(weight|bias)", r"blocks.\1.norm2.\2"),
    )
)
_STEM = "feature_extractor."


@torch.no_grad()
def load_transformers_weights(encoder: WaveformTransformer, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copy published weights into an encoder of the same settings, in place.

    Args:
        encoder: built with the checkpoint's settings (`WaveformTransformerConfig.size`).
        state: the checkpoint's tensors by name, from a safetensors file or a model's `state_dict`.

    Returns:
        The names that were not read: the mask vector, heads, quantisers.

    Raises:
        ConfigError: the checkpoint lacks a weight of the encoder, has one that it lacks, or one of another shape.
    """
    prefix = next((name.split(_STEM)[0] for name in state if _STEM in name), None)
    if prefix is None:
        raise ConfigError(
            f"found no weights named {_STEM}...; expected a checkpoint of Wav2Vec2, Hubert, WavLM or Data2VecAudio"
        )
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    unread = []
    for name, tensor in state.items():
        ours = _our_name(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if ours is None:
            unread.append(name)
        elif ".qkv." in ours:
            joint, part = ours.rsplit(".", 1)
            parts.setdefault(joint, {})[part] = tensor
        else:
            found[ours] = tensor
    found.update({name: torch.cat([part[key] for key in "qkv"]) for name, part in parts.items() if len(part) == 3})
    wanted = dict(encoder.named_parameters())
    missing, surplus = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or surplus:
        raise ConfigError(
            f"the checkpoint lacks {len(missing)} weights of the encoder ({', '.join(missing[:3])}) and has "
            f"{len(surplus)} that it lacks ({', '.join(surplus[:3])}); build the encoder with the checkpoint's settings"
        )
    for name, parameter in wanted.items():
        tensor = found[name]
        if tensor.numel() != parameter.numel() or tensor.squeeze().shape != parameter.squeeze().shape:
            raise ConfigError(
                f"the checkpoint's {name} has shape {tuple(tensor.shape)}, expected {tuple(parameter.shape)}; build the "
                "encoder with the checkpoint's settings"
            )
    for name, parameter in wanted.items():
        parameter.copy_(found[name].reshape(parameter.shape))
    return tuple(unread)


def _our_name(name: str) -> str | None:
    for pattern, ours in _RULES:
        match = pattern.match(name)
        if match:
            return match.expand(ours)
    return None
