"""Published objectives on random weights: each recipe's published size, made as small as the file, gives its loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden import DECODER, VIT, Golden, give_masks, loss_of, shrunk, time_major
from torch import Tensor

from auricle.encoders.parts.positions import sincos_tokens
from auricle.objectives.contract import IndexSet
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.objectives.predictive.bootstrap import byol_head
from auricle.objectives.predictive.conv_decoder import Conv2dDecoderConfig
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.window_decoder import WindowDecoderConfig
from auricle.recipes import get_recipe
from auricle.recipes.methods.reconstruction.ssast import patch_terms

pytestmark = pytest.mark.real
# Weights, inputs and losses are in float64; fixed positions, and a few losses, were rounded to float32.
DOUBLE, SINGLE = {"rel": 1e-9, "abs": 0.0}, {"rel": 3e-7, "abs": 0.0}


def objective_of(method: str) -> Any:
    return get_recipe(method, "paper").objective


@pytest.mark.parametrize("file", ["audio_mae_decoder1", "audio_mae_decoder0"])
def test_audio_mae(file: str, shared_audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the released decoder of shifted windows, and with the plain one, which the recipe does not use."""
    known, released = Golden(shared_audio, file), objective_of("audio-mae").decoder
    assert isinstance(released, WindowDecoderConfig)
    decoder = released.replace(width=32, depth=2)
    if file.endswith("0"):
        decoder = TransformerDecoderConfig(32, 2, heads=4, position_grid=released.position_grid)
    encoder, objective = shrunk("audio-mae", {"width": 64, "depth": 2, "heads": 4}, decoder=decoder)
    objective.eval()  # the offsets' dropout is off in the file
    known.fill(encoder, VIT)
    known.fill(objective, DECODER)
    torch.testing.assert_close(encoder.positions, known["w/pos_embed"])
    give_masks(objective, monkeypatch, known["mask"])
    loss = loss_of(encoder, objective, [known["x"][:, 0]])
    assert float(loss.total.detach()) == pytest.approx(float(known["loss"]), **DOUBLE)
    table = objective.decoder._tables[(64, 8)]  # type: ignore[union-attr,index]
    torch.testing.assert_close(table, known["w/decoder_pos_embed"][:, 1:], rtol=0, atol=1e-6)
    assert known.unused() == set()


def test_m2d(shared_audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, bands = Golden(shared_audio, "m2d"), 5
    decoder = objective_of("m2d").decoder.replace(width=32, depth=2, heads=4)
    encoder, objective = shrunk("m2d", {"width": 64, "depth": 2, "heads": 4, "frames": 128}, decoder=decoder)
    known.tensors["w/patch_embed.proj.weight"] = known["w/patch_embed.proj.weight"].transpose(2, 3)
    known.fill(encoder, VIT)
    # The teacher's blocks are its own; its tokens are the student's.
    slow = {r"^teacher\.copy\.(blocks|norm)": r"target_\1", r"^teacher\.copy\.": "", **DECODER}
    known.fill(objective, slow | VIT)
    # Fixed positions: ours encode the band in the first half of the channels, theirs in the second.
    tables = {encoder: time_major(known["w/pos_embed"][:, 1:], bands)}
    tables[objective] = time_major(known["w/decoder_pos_embed"][:, 1:], bands)
    for table in tables.values():
        ours = sincos_tokens(8, bands, table.shape[2], "true").roll(table.shape[2] // 2, 1)
        torch.testing.assert_close(ours, table[0], rtol=0, atol=1e-6)
    assert encoder.config.position_init_grid == decoder.position_grid == "true"  # type: ignore[attr-defined]
    encoder.positions[:, 1:] = tables[encoder]  # type: ignore[index]
    objective.decoder._tables[(8, bands)] = tables[objective]  # type: ignore[union-attr,index]
    give_masks(objective, monkeypatch, time_major(known["mask"], bands))
    loss = loss_of(encoder, objective, [known["x"][:, 0].transpose(1, 2)])
    assert float(loss.total.detach()) == pytest.approx(float(known["loss"]), **SINGLE)
    assert known.unused() == {"w/norm_stats"}


def test_eat(shared_audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, image = Golden(shared_audio, "eat"), "modality_encoders.IMAGE."
    decoder = objective_of("eat").decoder
    assert isinstance(decoder, Conv2dDecoderConfig)
    encoder, objective = shrunk(
        "eat",
        {"width": 64, "depth": 3, "heads": 4, "frames": 128},
        clones=2,
        decoder=decoder.replace(width=64, depth=3, noise=0.0),  # the file was made without noise
    )
    names = {
        r"^patch_proj": f"{image}local_encoder.proj",
        r"^cls_token": f"{image}extra_tokens",
        r"^norm_pre": f"{image}context_encoder.norm",
        **VIT,
    }
    known.fill(encoder, names)
    known.fill(objective.teacher.copy, names, "t/")  # type: ignore[union-attr,arg-type]
    known.fill(objective.decoder, {r"^convs\.(\d+)": rf"{image}decoder.blocks.\1.0"})  # type: ignore[arg-type]
    known.fill(objective.terms[0].head, {"^": f"{image}decoder.proj."})  # type: ignore[index,union-attr,arg-type]
    for part in ("w/", "t/"):
        table = known[f"{part}{image}fixed_positional_encoder.positions"][:, :64]
        torch.testing.assert_close(encoder.positions[:, 1:], table, rtol=0, atol=1e-6)  # type: ignore[index]
    give_masks(objective, monkeypatch, known["mask"])
    loss = loss_of(encoder, objective, [known["x"][:, 0]])
    assert {name: float(value) for name, value in loss.parts.items()} == {
        name: pytest.approx(float(known[name]), **SINGLE) for name in ("patch", "clip")
    }
    assert known.unused() == set()


def test_audiomosaic(shared_audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the released grid of masks, the recipe's declared deviation."""
    known, masks = Golden(shared_audio, "audiomosaic"), MaskConfig(grid="released")
    projector = objective_of("audiomosaic").projector
    assert projector == ProjectorConfig(hidden=(512,), out=128)
    encoder, objective = shrunk(
        "audiomosaic",
        {"width": 64, "depth": 2, "heads": 4, "frames": 256, "drop_path": 0.0},
        projector=projector.replace(out=16),
        mask=objective_of("audiomosaic").mask.replace(grid="released"),
    )
    assert objective.config.mask == masks  # type: ignore[attr-defined]
    known.fill(encoder, VIT)
    known.fill(objective, {})
    kept = {kind: known[f"keep_{kind}"] for kind in ("time", "freq")}
    for kind, index in kept.items():
        # Whole blocks of 16 tokens, or the same tokens of each block, as many as ours keep.
        own = masks.draw(kind, encoder.grid(256), 6, torch.Generator()).index  # type: ignore[arg-type]
        assert own.shape == index.shape
        lines = (index // 16 if kind == "time" else index % 16)[0].unique()
        assert len(lines) == index.shape[1] // (16 if kind == "time" else 8)
    monkeypatch.setattr(MaskConfig, "draw", lambda self, kind, grid, *_: IndexSet(kind, kept[kind], grid))
    loss = loss_of(encoder, objective, [known["x0"], known["x1"]])
    assert float(loss.total.detach()) == pytest.approx(float(known["loss"]), **DOUBLE)
    assert known.unused() == set()


def frequency_first(known: Golden, tokens: int) -> None:
    """Turn what SSAST and SSAMBA have frequency-major into our order: patch kernels, predicted patches, positions."""
    known.tensors["w/v.patch_embed.proj.weight"] = known["w/v.patch_embed.proj.weight"].transpose(2, 3)
    for name in ("cpredlayer.2.weight", "cpredlayer.2.bias", "gpredlayer.2.weight", "gpredlayer.2.bias"):
        known.tensors[f"w/{name}"] = time_major(known[f"w/{name}"], 16, axis=0)
    known.tensors["w/v.pos_embed"] = time_major(known["w/v.pos_embed"], 8, skip=tokens)


def hidden(known: Golden) -> list[Tensor]:
    """Return the masks of the two terms: each has its own pass."""
    return [
        time_major(torch.zeros(len(known["x"]), 128).scatter(1, known[name], 1.0), 8)
        for name in ("mask_nce", "mask_mse")
    ]


PATCH_TERMS = {"^mask_token": "mask_embed", r"^terms\.0\.head": "cpredlayer", r"^terms\.1\.head": "gpredlayer"}


def test_ssast(shared_audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Golden(shared_audio, "ssast")
    encoder, objective = shrunk(
        "ssast",
        {"width": 192, "depth": 2, "heads": 3, "frames": 256},
        terms=patch_terms(192, "negatives"),
    )
    assert objective_of("ssast").terms == patch_terms(768, "negatives")
    frequency_first(known, tokens=2)
    known.tensors["w/v.cls_token"] = torch.cat([known["w/v.cls_token"], known["w/v.dist_token"]], 1)
    known.fill(encoder, VIT, "w/v.")
    known.fill(objective, PATCH_TERMS)
    give_masks(objective, monkeypatch, *hidden(known))
    loss = loss_of(encoder, objective, [known["x"]])
    assert float(loss.parts["nce"]) == pytest.approx(float(known["nce"]), **SINGLE)
    assert float(loss.parts["patch_mse"]) == pytest.approx(float(known["mse"]), **SINGLE)
    # Heads of classification, which pre-training does not use.
    assert {name.split(".")[1] for name in known.unused()} == {"head", "head_dist"}


def test_ssamba(shared_audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Golden(shared_audio, "ssamba")
    encoder, objective = shrunk(
        "ssamba", {"width": 48, "depth": 4, "frames": 256, "drop_path": 0.0}, terms=patch_terms(48, "negatives")
    )
    assert objective_of("ssamba").terms == patch_terms(768, "negatives")
    frequency_first(known, tokens=1)
    back = {"A_log": "A_b_log", "D": "D_b", "conv": "conv1d_b", "x_proj": "x_proj_b", "dt_proj": "dt_proj_b"}
    names = {
        **{rf"mixer\.back\.{ours}\b": f"mixer.{theirs}" for ours, theirs in back.items()},
        r"mixer\.ahead\.conv": "mixer.conv1d",
        r"mixer\.ahead\.": "mixer.",
        r"^blocks": "layers",
        r"^norm\.": "norm_f.",
        **VIT,
    }
    known.fill(encoder, names, "w/v.")
    known.fill(objective, PATCH_TERMS)
    give_masks(objective, monkeypatch, *hidden(known))
    loss = loss_of(encoder, objective, [known["x"]])
    assert float(loss.parts["nce"]) == pytest.approx(float(known["nce"]), **SINGLE)
    assert float(loss.parts["patch_mse"]) == pytest.approx(float(known["mse"]), **SINGLE)
    assert {name.split(".")[1] for name in known.unused()} == {"head"}


def test_byol_a(shared_audio: Path) -> None:
    known = Golden(shared_audio, "byol_a_v2")
    head = byol_head(64, 32)
    assert objective_of("byol-a").projector == objective_of("byol-a").predictor == byol_head(4096, 256)
    encoder, objective = shrunk(
        "byol-a", {"width": 1536, "hidden": 128, "dropout": 0.0}, projector=head, predictor=head
    )  # the file was made without dropout
    known.fill(encoder, {"^": "online_encoder.net."})
    known.fill(
        objective,
        {
            r"^projector\.": "online_encoder.projector.net.",
            r"^predictor\.": "online_predictor.net.",
            r"^teacher_encoder\.copy\.": "target_encoder.net.",
            r"^teacher_projector\.copy\.": "target_encoder.projector.net.",
        },
    )
    loss = loss_of(encoder, objective, [known[name][:, 0].transpose(1, 2) for name in ("x1", "x2")])
    assert float(loss.total.detach()) == pytest.approx(float(known["loss"]), **DOUBLE)
    # The encoder's weights are in the file a second time.
    assert all(name.startswith("w/net.") for name in known.unused())
