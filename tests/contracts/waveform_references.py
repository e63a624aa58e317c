"""Tiny models of `transformers` with random weights, and the settings of ours that they must equal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2, WAV2VEC2_LAYER
from auricle.encoders.waveform_transformer import WaveformTransformerConfig

SMALL = WaveformTransformerConfig(
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
STACKED = ConvPositionConfig(kernel=7, groups=4, depth=5)


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
    "wav2vec2-base": (lambda: reference("Wav2Vec2"), SMALL.replace(stem=WAV2VEC2.narrow(16))),
    "wav2vec2-large": (
        lambda: reference("Wav2Vec2", do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True),
        SMALL.replace(norm="pre"),
    ),
    "hubert-base": (lambda: reference("Hubert"), SMALL.replace(stem=WAV2VEC2.narrow(16))),
    "hubert-large": (
        lambda: reference("Hubert", do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True),
        SMALL.replace(norm="pre"),
    ),
    "wavlm-base": (lambda: reference("WavLM"), SMALL.replace(stem=WAV2VEC2.narrow(16), bias="wavlm")),
    "wavlm-large": (
        lambda: reference("WavLM", do_stable_layer_norm=True, feat_extract_norm="layer"),
        SMALL.replace(stem=WAV2VEC2_LAYER.narrow(16).replace(bias=False), norm="pre", bias="wavlm"),
    ),
    "wavlm-few-buckets": (
        lambda: reference("WavLM", num_buckets=8, max_bucket_distance=12),
        SMALL.replace(stem=WAV2VEC2.narrow(16), bias="wavlm", buckets=8, max_distance=12),
    ),
    "data2vec": (
        lambda: reference("Data2VecAudio", num_conv_pos_embeddings=5, conv_pos_kernel_size=7),
        SMALL.replace(stem=WAV2VEC2_LAYER.narrow(16).replace(bias=False), position=STACKED),
    ),
}
