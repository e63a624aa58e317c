from __future__ import annotations

from pathlib import Path

import pytest

from auricle.objectives.masks.samplers import FrameMask
from auricle.recipes import get_recipe
from auricle.recipes.methods.reconstruction.ssast import patch_terms
from learning import lesson


@pytest.mark.real
def test_a_state_space_encoder_tells_frames_apart_and_reconstructs_them(shared_audio: Path) -> None:
    recipe = get_recipe("ssamba", "tiny")
    small = recipe.replace(
        window=recipe.window.replace(seconds=0.655),
        # Tokens of whole frames: square patches are told apart by their bands alone, before anything is heard.
        encoder=recipe.encoder.replace(width=64, depth=2, states=8, frames=64, patch=(2, 128)),
        objective=recipe.objective.replace(mask=FrameMask(400 / 512), terms=patch_terms(64, "ignored")),
    )
    taught = lesson(small, shared_audio, "nemo_pl", steps=120, batch=16, lr=3e-3, held=96)
    before, after = taught.learn()
    assert before["nce"] > 0.98 * before["nce/chance"]
    assert after["nce"] < 0.92 * after["nce/chance"]
    assert after["nce"] < 0.95 * after["nce/position"]
    assert after["nce/accuracy"] > 2 * after["nce/majority"]
    assert after["patch_mse/position_ratio"] < 0.8
    _, control = taught.learn(shuffled=True)
    assert control["nce"] > 0.97 * control["nce/chance"]
    assert control["patch_mse/position_ratio"] > 0.9
