"""Key maps of CLAP and wav2vec 2.0's Conformer: every weight arrives once, and incomplete checkpoints are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from auricle.encoders.hts_at import HtsAtConfig
from auricle.errors import CheckpointError, ConfigError
from auricle.zoo.families.conformer import conformer_weights
from auricle.zoo.families.hts_at import hts_at_weights
from auricle.zoo.safe_load import below_prefix, check_keys, joined_qkv

SMALL = HtsAtConfig(width=8, depths=(2, 2), heads=(1, 2), drop_path=0.0)


def clap_settings() -> dict[str, Any]:
    return {
        "patch_embeds_hidden_size": 8, "depths": [2, 2], "num_attention_heads": [1, 2], "hidden_size": 16,
        "projection_dim": 8,
    }  # fmt: skip


@pytest.fixture(scope="module")
def clap() -> dict[str, Tensor]:
    """The state of a whole CLAP, with its text tower and projections."""
    transformers = pytest.importorskip("transformers")
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ClapConfig(
        text_config={**text, "vocab_size": 50, "projection_dim": 8}, audio_config=clap_settings(), projection_dim=8
    )
    torch.manual_seed(0)
    return transformers.ClapModel(config).state_dict()


@pytest.fixture(scope="module")
def conformer() -> dict[str, Tensor]:
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2ConformerConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=[8, 8],
        conv_kernel=[4, 4], conv_stride=[2, 2], num_conv_pos_embedding_groups=4, num_conv_pos_embeddings=4,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.Wav2Vec2ConformerModel(config).state_dict()


def test_the_audio_tower_of_a_whole_clap_fits_the_encoder_exactly(clap: dict[str, Tensor]) -> None:
    weights = hts_at_weights(clap)
    own = SMALL.build().state_dict()
    assert weights.keys() == own.keys()
    check_keys(weights, own, "clap")
    audio_only = {name: value for name, value in clap.items() if name.startswith("audio_model.")}
    without = {name.removeprefix("audio_model.audio_encoder."): value for name, value in audio_only.items()}
    for state in (audio_only, without):
        again = hts_at_weights(state)
        assert again.keys() == weights.keys()
        assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_queries_keys_and_values_are_joined_in_this_order(
    clap: dict[str, Tensor], conformer: dict[str, Tensor]
) -> None:
    joined = hts_at_weights(clap)["stages.1.blocks.1.attention.qkv.weight"]
    place = "audio_model.audio_encoder.layers.1.blocks.1.attention.self"
    for part, name in zip(joined.split(16), ("query", "key", "value"), strict=True):
        assert torch.equal(part, clap[f"{place}.{name}.weight"])
    joined = conformer_weights(conformer)["blocks.1.attention.qkv.bias"]
    for part, letter in zip(joined.split(16), "qkv", strict=True):
        assert torch.equal(part, conformer[f"encoder.layers.1.self_attn.linear_{letter}.bias"])


def test_every_weight_of_the_conformers_blocks_is_used_once(conformer: dict[str, Tensor]) -> None:
    blocks = {name: value for name, value in conformer.items() if name.startswith(("encoder.layers", "encoder.layer_"))}
    weights = conformer_weights(conformer)
    assert sum(value.numel() for value in weights.values()) == sum(value.numel() for value in blocks.values())
    pool = [value.flatten() for value in blocks.values() if value.dim() > 0]
    for name, value in weights.items():
        if "qkv" not in name and value.dim() > 1:
            assert any(torch.equal(value.flatten(), other) for other in pool), name


@pytest.mark.parametrize("lost", ["key.weight", "value.bias"])
def test_a_clap_without_keys_or_values_is_refused(clap: dict[str, Tensor], lost: str) -> None:
    name = f"audio_model.audio_encoder.layers.0.blocks.1.attention.self.{lost}"
    state = {key: value for key, value in clap.items() if key != name}
    with pytest.raises(ConfigError, match=rf"without .*{lost}; the checkpoint is incomplete: download it again"):
        hts_at_weights(state)


def test_a_conformer_without_keys_is_refused(conformer: dict[str, Tensor]) -> None:
    state = {key: value for key, value in conformer.items() if key != "encoder.layers.1.self_attn.linear_k.weight"}
    with pytest.raises(ConfigError, match=r"linear_q.weight without layers.1.self_attn.linear_k.weight"):
        conformer_weights(state)


def test_other_models_are_refused_by_each_map(clap: dict[str, Tensor], conformer: dict[str, Tensor]) -> None:
    with pytest.raises(ConfigError, match=r"found 0 names .* transformers' ClapAudioModel or ClapModel"):
        hts_at_weights(conformer)
    with pytest.raises(ConfigError, match=r"found 0 names .* transformers' Wav2Vec2ConformerModel"):
        conformer_weights(clap)
    twice = {**{f"one.{k}": v for k, v in clap.items()}, **{f"two.{k}": v for k, v in clap.items()}}
    with pytest.raises(ConfigError, match=r"found 2 names that end with 'patch_embed.proj.weight', expected 1"):
        hts_at_weights(twice)


def test_names_below_a_prefix_lose_it_and_others_are_left_out() -> None:
    state = {"a.b.end": torch.zeros(1), "a.b.c": torch.ones(1), "a.x": torch.ones(2), "a.bc": torch.ones(3)}
    assert below_prefix(state, "end", "Model").keys() == {"end", "c"}
    assert joined_qkv({"q": torch.zeros(1), "k": torch.ones(2)}, "q", "q", "qk").tolist() == [0.0, 1.0, 1.0]


def test_long_lists_of_names_are_cut_and_counted() -> None:
    expected = {f"layer{i}": torch.zeros(2) for i in range(9)}
    with pytest.raises(CheckpointError, match=r"9 missing: layer0, .*layer5 and 3 more.*Load it with its own model"):
        check_keys({}, expected, "file.pt")
    check_keys(expected, expected, "file.pt")
