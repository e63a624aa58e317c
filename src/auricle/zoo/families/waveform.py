"""Weights of published waveform transformers and of BEATs, under our names.

Known formats: transformers' (Wav2Vec2Model, HubertModel, WavLMModel and Data2VecAudioModel), and fairseq's (wav2vec
2.0, HuBERT, data2vec), which unilm (WavLM, BEATs) shares. Heads are ignored; weight normalisation is known under its
old and its new names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from auricle.encoders.beats import BEATs
from auricle.encoders.waveform_transformer import WaveformTransformer
from auricle.errors import ConfigError

_Rules = Sequence[tuple[str, str]]
_TRANSFORMERS: _Rules = (
    (r"feature_extractor\.conv_layers\.(\d+)\.conv\.(weight|bias)", r"stem.convs.\1.\2"),
    (r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.(weight|bias)", r"stem.norms.\1.\2"),
    (r"feature_projection\.layer_norm\.(weight|bias)", r"stem_norm.\1"),
    (r"feature_projection\.projection\.(weight|bias)", r"projection.\1"),
    (r"encoder\.pos_conv_embed\.conv\.bias", "position.convs.0.bias"),
    (r"encoder\.pos_conv_embed\.conv\.(?:weight_g|parametrizations\.weight\.original0)", "position.convs.0.gain"),
    (r"encoder\.pos_conv_embed\.conv\.(?:weight_v|parametrizations\.weight\.original1)", "position.convs.0.direction"),
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
_FAIRSEQ: _Rules = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.(weight|bias)", r"stem.convs.\1.\2"),
    (r"feature_extractor\.conv_layers\.(\d+)\.2(?:\.1)?\.(weight|bias)", r"stem.norms.\1.\2"),
    (r"patch_embedding\.weight", "patch_embed.weight"),
    (r"layer_norm\.(weight|bias)", r"stem_norm.\1"),
    (r"post_extract_proj\.(weight|bias)", r"projection.\1"),
    (r"encoder\.pos_conv\.0\.(?:weight_g|parametrizations\.weight\.original0)", "position.convs.0.gain"),
    (r"encoder\.pos_conv\.0\.(?:weight_v|parametrizations\.weight\.original1)", "position.convs.0.direction"),
    (r"encoder\.pos_conv\.0\.bias", "position.convs.0.bias"),
    (r"encoder\.pos_conv\.(\d+)\.0\.(weight|bias)", r"position.convs.\1.\2"),
    (r"encoder\.layer_norm\.(weight|bias)", r"norm.\1"),
    # Every layer of unilm's models lists the shared table.
    (r"encoder\.layers\.\d+\.self_attn\.relative_attention_bias\.weight", "relative.table"),
    (r"encoder\.layers\.(\d+)\.self_attn\.grep_a", r"blocks.\1.gate.scale"),
    (r"encoder\.layers\.(\d+)\.self_attn\.grep_linear\.(weight|bias)", r"blocks.\1.gate.project.\2"),
    (r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", r"blocks.\1.qkv.\3.\2"),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"blocks.\1.proj.\2"),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.(weight|bias)", r"blocks.\1.norm1.\2"),
    (r"encoder\.layers\.(\d+)\.fc([12])\.(weight|bias)", r"blocks.\1.fc\2.\3"),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.(weight|bias)", r"blocks.\1.norm2.\2"),
)


def load_transformers_weights(encoder: WaveformTransformer, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copy weights in the names of `transformers` into an encoder of the same settings, in place.

    Args:
        encoder: built with the checkpoint's settings (`WaveformTransformerConfig.size`).
        state: the checkpoint's tensors by name, from a safetensors file or a model's `state_dict`.

    Returns:
        The names that were not read: the mask vector, heads, quantisers.

    Raises:
        ConfigError: the checkpoint lacks a weight of the encoder, has an additional one, or one of another shape.
    """
    return _load(encoder, state, _TRANSFORMERS, "feature_extractor.conv_layers.0.conv.weight")


def load_fairseq_weights(encoder: WaveformTransformer | BEATs, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copy weights in the names of fairseq and unilm into an encoder of the same settings, in place.

    Args:
        encoder: built with the checkpoint's settings.
        state: the checkpoint's entry `model`: its tensors by name.

    Returns:
        The names that were not read: the mask vector, heads, quantisers, teachers.

    Raises:
        ConfigError: the checkpoint lacks a weight of the encoder, has an additional one, or one of another shape.
    """
    beats = isinstance(encoder, BEATs)
    anchor = "patch_embedding.weight" if beats else "feature_extractor.conv_layers.0.0.weight"
    rules = tuple((theirs, ours.replace("stem_norm", "patch_norm")) for theirs, ours in _FAIRSEQ) if beats else _FAIRSEQ
    return _load(encoder, state, rules, anchor)


@torch.no_grad()
def _load(
    encoder: WaveformTransformer | BEATs, state: Mapping[str, Tensor], rules: _Rules, anchor: str
) -> tuple[str, ...]:
    prefix = next((name.removesuffix(anchor) for name in state if name.endswith(anchor)), None)
    if prefix is None:
        raise ConfigError(f"found no weight named {anchor}, which every such checkpoint has; it is of another family")
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    unread = []
    for name, tensor in state.items():
        ours = _our_name(name.removeprefix(prefix), rules) if name.startswith(prefix) else None
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
        if not _fits(found[name], parameter):
            raise ConfigError(
                f"the checkpoint's {name} has shape {tuple(found[name].shape)}, expected {tuple(parameter.shape)}; "
                "build the encoder with the checkpoint's settings"
            )
    for name, parameter in wanted.items():
        parameter.copy_(found[name].reshape(parameter.shape))
    return tuple(unread)


def _fits(tensor: Tensor, parameter: Tensor) -> bool:
    """Return whether shapes are equal up to axes of length 1 and flattened patches."""
    theirs, ours = tensor.squeeze(), parameter.squeeze()
    return theirs.shape == ours.shape or (
        theirs.dim() == 3 and ours.dim() == 2 and theirs.flatten(1).shape == ours.shape
    )


def _our_name(name: str, rules: _Rules) -> str | None:
    for pattern, ours in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(ours)
    return None
