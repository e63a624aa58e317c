"""HuBERT, data2vec and DinoSR: the published criteria on ruled weights, in the settings of the recipes' paper sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import give_masks, small
from published_modules import Published
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.contract import Encoder
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.contract import Loss, Objective, View
from auricle.objectives.targets.clusters import KMeansTarget
from auricle.recipes import Recipe, get_recipe

# Everything is in float64; a few of the published steps were rounded to float32.
CLOSE = {"rel": 1e-7, "abs": 0.0}
# Our names, and fairseq's in their place.
FAIRSEQ = {
    r"^stem\.convs\.(\d+)\.": r"feature_extractor.conv_layers.\1.0.",
    r"^stem_norm\.": "layer_norm.",
    r"^projection\.": "post_extract_proj.",
    r"^norm\.": "encoder.layer_norm.",
    r"^blocks\.(\d+)\.qkv\.": r"encoder.layers.\1.self_attn.{q,k,v}_proj.",
    r"^blocks\.(\d+)\.proj\.": r"encoder.layers.\1.self_attn.out_proj.",
    r"^blocks\.(\d+)\.norm1\.": r"encoder.layers.\1.self_attn_layer_norm.",
    r"^blocks\.(\d+)\.norm2\.": r"encoder.layers.\1.final_layer_norm.",
    r"^blocks\.": "encoder.layers.",
    r"^mask_token$": "mask_emb",
}
# Norms in the first convolution only and a normalised convolution of positions; norms in all of them and plain ones.
BASE = {
    r"^stem\.norms\.0\.": "feature_extractor.conv_layers.0.2.",
    r"^position\.convs\.0\.gain": "encoder.pos_conv.0.weight_g",
    r"^position\.convs\.0\.direction": "encoder.pos_conv.0.weight_v",
    r"^position\.convs\.0\.bias": "encoder.pos_conv.0.bias",
    **FAIRSEQ,
}
DATA2VEC = {
    r"^stem\.norms\.(\d+)\.": r"feature_extractor.conv_layers.\1.2.1.",
    r"^position\.convs\.(\d+)\.": r"encoder.pos_conv.\1.0.",
    **FAIRSEQ,
}
TEACHER = {r"^encoder\.": "_ema."}


def narrow(recipe: Recipe, depth: int) -> dict[str, Any]:
    """Return the changes to a recipe's encoder that bring it to the files' size, dropout off."""
    assert isinstance(recipe.encoder, WaveformTransformerConfig)
    return {
        "stem": recipe.encoder.stem.narrow(16), "width": 32, "depth": depth, "heads": 4, "dropout": 0.0,
        "attention_dropout": 0.0, "input_dropout": 0.0, "layer_drop": 0.0,
    }  # fmt: skip


def loss_of(encoder: Encoder, objective: Objective, x: Tensor) -> Loss:
    views = [View(Features(x, torch.full((len(x),), x.shape[1]), 16_000.0), torch.arange(len(x)))]
    return objective(encoder, views, torch.Generator().manual_seed(0))


def test_hubert(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of both iterations is the same: codes are given."""
    known, recipe = Published("hubert"), get_recipe("hubert", "paper").previous
    assert recipe is not None
    codes, penalty = recipe.objective.terms  # type: ignore[attr-defined]
    codes = codes.replace(target=codes.target.replace(clusters=7), head=codes.head.replace(dim=12))
    encoder, objective = small(recipe, narrow(recipe, depth=2), terms=(codes, penalty))
    known.fill(encoder, BASE)
    heads = {r"^terms\.0\.heads\.0\.proj\.": "final_proj.", r"^terms\.0\.heads\.0\.codes": "label_embs_concat"}
    known.fill(objective, FAIRSEQ | heads, skip=r"target\.")
    assert known.unused() == set()
    monkeypatch.setattr(KMeansTarget, "forward", lambda *_: known.given["codes"].unsqueeze(-1))
    give_masks(objective, monkeypatch, known.given["masked"])
    loss = loss_of(encoder, objective, known.input("x"))
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    assert float(loss.parts["codes"]) == pytest.approx(known.returned["loss_m_0"], **CLOSE)
    loss.total.backward()
    compared = known.check_gradients(encoder, BASE, 1e-6) + known.check_gradients(objective, FAIRSEQ | heads, 1e-6)
    assert compared == len(known.gradients)


def test_data2vec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss, gradients, and one step of the teacher."""
    known, recipe = Published("data2vec"), get_recipe("data2vec", "paper")
    (latent,) = recipe.objective.terms  # type: ignore[attr-defined]
    top = latent.replace(target=latent.target.replace(layers=2))
    encoder, objective = small(recipe, narrow(recipe, depth=3), terms=(top,))
    known.fill(encoder, DATA2VEC)
    heads = {r"^terms\.0\.head\.": "final_proj."}
    teacher = r"^teacher\."
    known.fill(objective, FAIRSEQ | heads, skip=teacher)
    known.fill(objective.teacher.copy, DATA2VEC | TEACHER, skip=r"^(stem|projection)")  # type: ignore[union-attr,arg-type]
    assert known.unused() == set()
    give_masks(objective, monkeypatch, known.given["masked"])
    loss = loss_of(encoder, objective, known.input("x"))
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    loss.total.backward()
    compared = known.check_gradients(encoder, DATA2VEC, 1e-6) + known.check_gradients(objective, FAIRSEQ | heads, 1e-6)
    assert compared == len(known.gradients)
    objective.after_step(encoder, 3000)
    followed = dict(objective.teacher.copy.named_parameters())  # type: ignore[union-attr]
    pairs = {"layers.2.fc2.weight": "blocks.2.fc2.weight", "pos_conv.1.0.weight": "position.convs.1.weight"}
    for theirs, ours in pairs.items():
        assert float(followed[ours].norm()) == pytest.approx(known.returned["teacher"][theirs], **CLOSE)


def test_dinosr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss, gradients, and one step of the codebooks."""
    known, recipe = Published("dinosr"), get_recipe("dinosr", "paper")
    (codes,) = recipe.objective.terms  # type: ignore[attr-defined]
    codes = codes.replace(target=codes.target.replace(layers=2, clusters=5))
    encoder, objective = small(recipe, narrow(recipe, depth=3), terms=(codes,))
    known.fill(encoder, DATA2VEC)
    heads = {r"^terms\.0\.heads\.": "heads."}
    known.fill(objective, FAIRSEQ | heads, skip=r"^teacher\.|target\.")
    known.fill(objective.teacher.copy, DATA2VEC | TEACHER, skip=r"^(stem|projection)")  # type: ignore[union-attr,arg-type]
    target: Any = objective.terms[0].target  # type: ignore[index,union-attr]
    mean, std = target.centres.mean(1), target.centres.std(1, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-6)
    torch.testing.assert_close(std, torch.ones_like(std), rtol=1e-3, atol=0)
    target.sums.copy_(torch.stack([known.weight(f"_codebook{number}") for number in range(2)]))
    target.counts.copy_(1 + torch.stack([known.weight(f"_codebook_cnts{number}.running_var") for number in range(2)]))
    target.centres.copy_(target.sums / target.counts.unsqueeze(-1))
    assert known.unused() == set()
    give_masks(objective, monkeypatch, known.given["masked"])
    loss = loss_of(encoder, objective, known.input("x"))
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    loss.total.backward()
    compared = known.check_gradients(encoder, DATA2VEC, 1e-6) + known.check_gradients(objective, FAIRSEQ | heads, 1e-6)
    assert compared == len(known.gradients)
    objective.after_step(encoder, 0)
    for number in range(2):
        assert float(target.sums[number].norm()) == pytest.approx(known.returned[f"sums{number}"], **CLOSE)
        assert target.counts[number].tolist() == pytest.approx(known.returned[f"counts{number}"])
