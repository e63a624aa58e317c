"""Tiny random models of transformers, saved to a folder as their users would find them."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
WAVE: dict[str, Any] = {
    **TINY,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def make(name: str) -> tuple[Any, Any]:
    """Return model and feature extractor."""
    t = transformers
    wave = t.Wav2Vec2FeatureExtractor(do_normalize=True)
    match name:
        case "wav2vec2":
            return t.Wav2Vec2Model(t.Wav2Vec2Config(**WAVE)), wave
        case "wav2vec2-layer":
            config = t.Wav2Vec2Config(**WAVE, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
            return t.Wav2Vec2Model(config), t.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
        case "wav2vec2-adapter":
            config = t.Wav2Vec2Config(**WAVE, add_adapter=True, num_adapter_layers=1, output_hidden_size=32)
            return t.Wav2Vec2Model(config), wave
        case "unispeech":
            return t.UniSpeechModel(t.UniSpeechConfig(**WAVE)), wave
        case "unispeech-sat":
            return t.UniSpeechSatModel(t.UniSpeechSatConfig(**WAVE)), wave
        case "wavlm-layer":
            return t.WavLMModel(t.WavLMConfig(**WAVE, feat_extract_norm="layer", do_stable_layer_norm=True)), wave
        case "hubert":
            return t.HubertModel(t.HubertConfig(**WAVE)), t.Wav2Vec2FeatureExtractor(do_normalize=False)
        case "wavlm":
            return t.WavLMModel(t.WavLMConfig(**WAVE)), wave
        case "data2vec":
            settings = {**WAVE, "num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 7}
            return t.Data2VecAudioModel(t.Data2VecAudioConfig(**settings)), wave
        case "conformer":
            return t.Wav2Vec2ConformerModel(t.Wav2Vec2ConformerConfig(**WAVE)), wave
        case "sew":
            return t.SEWModel(t.SEWConfig(**{**WAVE, "conv_dim": (16,) * 13})), wave
        case "ast":
            return t.ASTModel(t.ASTConfig(**TINY, max_length=64)), t.ASTFeatureExtractor(max_length=64)
        case "whisper":
            sizes = {"d_model": 32, "vocab_size": 50, "max_source_positions": 50, "num_mel_bins": 20}
            for side in ("encoder", "decoder"):
                sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 48}
            tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
            extractor = t.WhisperFeatureExtractor(chunk_length=1, feature_size=20)
            return t.WhisperModel(t.WhisperConfig(**sizes, **tokens)), extractor
        case "clap":
            audio = {"patch_embeds_hidden_size": 8, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]}
            config = t.ClapConfig(text_config={**TINY, "vocab_size": 50}, audio_config={**audio, "hidden_size": 64})
            return t.ClapModel(config), t.ClapFeatureExtractor(truncation="rand_trunc")
        case "clap-short":
            return make("clap")[0], t.ClapFeatureExtractor(truncation="rand_trunc", max_length_s=1)
        case "bert":
            config = t.Wav2Vec2BertConfig(**TINY, feature_projection_input_dim=160)
            return t.Wav2Vec2BertModel(config), t.SeamlessM4TFeatureExtractor()
    raise ValueError(name)


@functools.cache
def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tiny_transformers")


@functools.cache
def folder(name: str) -> str:
    """Return a folder with the model, made once."""
    path = Path(_home().name) / name
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, extractor = make(name)
    model.save_pretrained(path)
    extractor.save_pretrained(path)
    return str(path)
