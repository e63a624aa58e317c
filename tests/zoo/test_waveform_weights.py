"""Published names of weights: the library's files, and those of fairseq and unilm."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from waveform_references import FAMILIES, SMALL, reference

from auricle.errors import ConfigError
from auricle.zoo.families.waveform import load_fairseq_weights, load_transformers_weights


def test_checkpoints_that_do_not_fit_are_refused() -> None:
    encoder = SMALL.build()
    with pytest.raises(ConfigError, match="another family"):
        load_transformers_weights(encoder, {"a": torch.zeros(1)})
    state = reference("Hubert", do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True).state_dict()
    with pytest.raises(ConfigError, match="lacks 12 weights of the encoder"):
        load_transformers_weights(SMALL.replace(depth=4).build(), state)
    before = encoder.projection.weight.clone()
    with pytest.raises(ConfigError, match="has shape"):
        load_transformers_weights(encoder, state | {"encoder.layers.2.layer_norm.weight": torch.zeros(31)})
    assert torch.equal(encoder.projection.weight, before)
    old = {k.replace("parametrizations.weight.original0", "weight_g"): v for k, v in state.items()}
    old = {"hubert." + k.replace("parametrizations.weight.original1", "weight_v"): v for k, v in old.items()}
    assert load_transformers_weights(encoder, old | {"lm_head.weight": torch.zeros(1)}) == (
        "hubert.masked_spec_embed",
        "lm_head.weight",
    )


def in_fairseq_names(state: dict[str, Tensor], stem_norm: str) -> dict[str, Tensor]:
    """Rename the library's weights as fairseq's and unilm's files have them."""
    swaps = (
        ("encoder.pos_conv_embed.conv.parametrizations.weight.original0", "encoder.pos_conv.0.weight_g"),
        ("encoder.pos_conv_embed.conv.parametrizations.weight.original1", "encoder.pos_conv.0.weight_v"),
        ("encoder.pos_conv_embed.conv.bias", "encoder.pos_conv.0.bias"),
        (".feed_forward.intermediate_dense.", ".fc1."),
        (".feed_forward.output_dense.", ".fc2."),
        ("feature_projection.layer_norm.", "layer_norm."),
        ("feature_projection.projection.", "post_extract_proj."),
        (".attention.rel_attn_embed.", ".self_attn.relative_attention_bias."),
        (".attention.gru_rel_pos_const", ".self_attn.grep_a"),
        (".attention.gru_rel_pos_linear.", ".self_attn.grep_linear."),
        (".attention.", ".self_attn."),
        ("masked_spec_embed", "mask_emb"),
    )
    out = {}
    for original, tensor in state.items():
        name = original
        for theirs, ours in swaps:
            name = name.replace(theirs, ours)
        if name.startswith("encoder.layers."):
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
        if name.startswith("feature_extractor."):
            inner = ".2." if stem_norm == "group_first" else ".2.1."
            name = name.replace(".conv.", ".0.").replace(".layer_norm.", inner)
        name = re.sub(r"pos_conv_embed\.layers\.(\d)\.conv", r"pos_conv.\1.0", name)
        out[name] = tensor
    return out


@pytest.mark.parametrize("family", ["hubert-base", "wavlm-large", "data2vec"])
def test_fairseq_files_hold_the_same_weights(family: str) -> None:
    make, config = FAMILIES[family]
    state = make().state_dict()
    one, two = config.build(), config.build()
    load_transformers_weights(one, state)
    renamed = in_fairseq_names(state, config.stem.norm)
    assert load_fairseq_weights(two, renamed | {"label_embs_concat": torch.zeros(1)}) == (
        "mask_emb",
        "label_embs_concat",
    )
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
