from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from auricle.audio.batch import Features
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import CheckpointError, ConfigError
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.zoo.families.audiomosaic import (
    from_official,
    frozen_audiomosaic,
    load_audiomosaic,
    official_name,
    resize_positions,
    save_audiomosaic,
    to_official,
)

SMALL = SpectrogramTransformerConfig(width=64, depth=2, heads=1, frames=1024, position_init_grid="released")


def test_official_names_of_the_published_size() -> None:
    with torch.device("cpu"):
        encoder = SpectrogramTransformerConfig.size("tiny").build()
    state = to_official(encoder, ProjectorConfig(hidden=(512,), out=128).build(192).state_dict())
    outside = {"cls_token", "pos_embed"} | {
        f"{part}.{kind}"
        for part in ("patch_embed.proj", "patch_embed.norm", "norm_pre", "fc_norm")
        for kind in ("weight", "bias")
    }
    blocks = {
        f"blocks.{i}.{part}.{kind}"
        for i in range(12)
        for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    }
    norms = {
        f"projector.{i}.{kind}"
        for i in (1, 4)
        for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert state.keys() == outside | blocks | norms | {"projector.0.weight", "projector.3.weight"}
    assert len(state) == 166
    assert state["patch_embed.proj.weight"].shape == (192, 1, 16, 16)
    assert state["pos_embed"].shape == (1, 513, 192)


@pytest.mark.parametrize("form", ["safetensors", "pt", "wrapped"])
def test_round_trip(tmp_path: Path, form: str) -> None:
    encoder = SMALL.build(torch.Generator().manual_seed(3))
    projector = ProjectorConfig(hidden=(16,), out=8).build(64).state_dict()
    path = tmp_path / "model.safetensors"
    save_audiomosaic(path, encoder, projector)
    if form != "safetensors":
        prefix = "_orig_mod.module." if form == "wrapped" else ""
        state = {f"{prefix}{k}": v for k, v in safetensors.torch.load_file(path).items()}
        path = tmp_path / "model_state_dict.pt"
        torch.save(state, path)
    loaded = load_audiomosaic(path)
    assert loaded.encoder.config.replace(drop_path=0.1) == SMALL
    for (name, ours), theirs in zip(loaded.encoder.named_parameters(), encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert loaded.projector.keys() == projector.keys()
    assert loaded.rest == {}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_classifier_keys_are_kept_apart() -> None:
    state = to_official(SMALL.build()) | {"head.weight": torch.ones(7, 64), "head.bias": torch.ones(7)}
    loaded = from_official(state)
    assert set(loaded.rest) == {"head.weight", "head.bias"}
    assert loaded.projector == {}


def positions(tokens: int) -> torch.Tensor:
    return torch.randn(1, 1 + tokens, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_legacy_resize_closed_forms() -> None:
    """The sheet's closed forms for 512 and 128 frames."""
    table = positions(512)
    old = table[0, 1:].view(64, 8, 6)
    esc = resize_positions(table, 32)
    assert torch.equal(esc[:, :1], table[:, :1])
    for r in range(8):
        for j in range(4):
            expected = (old[8 * r + j] + old[8 * r + 4 + j]) / 2
            torch.testing.assert_close(esc[0, 1:].view(32, 8, 6)[4 * r + j], expected, atol=1e-6, rtol=0)
    spc = resize_positions(table, 8)[0, 1:].view(8, 8, 6)
    for t in range(8):
        torch.testing.assert_close(spc[t], (old[8 * t + 3] + old[8 * t + 4]) / 2, atol=1e-6, rtol=0)


def test_true_resize_averages_neighbours_in_time() -> None:
    table = positions(512)
    old, new = table[0, 1:].view(64, 8, 6), resize_positions(table, 32, "true")[0, 1:].view(32, 8, 6)
    torch.testing.assert_close(new, (old[0::2] + old[1::2]) / 2)
    assert resize_positions(table, 96, "true").shape == (1, 769, 6)
    assert resize_positions(table, 64) is table


def test_resize_refusals() -> None:
    with pytest.raises(ConfigError, match="use 'true'"):
        resize_positions(positions(512), 30)
    with pytest.raises(ConfigError, match="unknown resize"):
        resize_positions(positions(512), 32, "falsch")  # type: ignore[arg-type]


def test_shorter_input_through_the_loader(tmp_path: Path) -> None:
    path = save_audiomosaic(tmp_path / "m.safetensors", SMALL.build())
    encoder = load_audiomosaic(path, frames=512).encoder.eval()
    assert encoder.max_frames == 512
    tokens = encoder(Features(torch.randn(1, 512, 128), torch.tensor([512]), 100.0))
    assert tokens.grid.tokens == 256


def test_another_model_is_refused_loudly(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.ones(3)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt lacks cls_token, pos_embed"):
        load_audiomosaic(tmp_path / "other.pt")
    # A vision transformer with a final norm and without norm_pre: near, but not AudioMosaic.
    state = to_official(SMALL.build())
    near = {k: v for k, v in state.items() if not k.startswith("norm_pre")} | {
        "norm.weight": torch.ones(64),
        "blocks.1.ls1.gamma": torch.ones(64),
    }
    with pytest.raises(CheckpointError) as caught:
        from_official(near, source="near.pt")
    assert "2 missing: norm_pre.bias, norm_pre.weight" in str(caught.value)
    assert "2 unexpected: blocks.1.ls1.gamma, norm.weight" in str(caught.value)
    with pytest.raises(CheckpointError, match="another shape"):
        from_official(state | {"fc_norm.weight": torch.ones(5)})
    with pytest.raises(CheckpointError, match="no counterpart of"):
        official_name("norm.weight")


def test_frozen_with_its_front_end(tmp_path: Path) -> None:
    path = save_audiomosaic(tmp_path / "m.safetensors", SMALL.build())
    frozen = frozen_audiomosaic(path, statistics="esc50")
    assert (frozen.frontend.config.mean, frozen.frontend.config.std) == (-6.6268077, 5.358466)
    wave = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert frozen.embed(wave, 16000).shape == (64,)
    with pytest.raises(ConfigError, match="unknown statistics"):
        frozen_audiomosaic(path, statistics="esc")
