from __future__ import annotations

from pathlib import Path

import pytest

from auricle.recipes import get_recipe
from auricle.recipes.methods.ssast import patch_terms
from learning import lesson


@pytest.mark.real
def test_a_state_space_encoder_tells_patches_apart_and_reconstructs_them(shared_audio: Path) -> None:
    recipe = get_recipe("ssamba", "tiny")
    small = recipe.replace(
        # 64 frames: 4 x 8 patches.
        window=recipe.window.replace(seconds=0.655),
        encoder=recipe.encoder.replace(width=64, depth=2, states=8, frames=64),
        objective=recipe.objective.replace(terms=patch_terms(64, "ignored")),
    )
    taught = lesson(small, shared_audio, "piano_notes", steps=120, batch=16, lr=3e-3, held=72)
    before, after = taught.learn()
    assert before["nce"] > 0.98 * before["nce/chance"]
    assert after["nce"] < 0.92 * after["nce/chance"]
    assert after["nce"] < after["nce/position"]
    assert after["nce/accuracy"] > 2 * after["nce/majority"]
    assert after["patch_mse/position_ratio"] < 0.75
    _, control = taught.learn(shuffled=True)
    # Places alone tell some patches apart: low bands are louder than high ones.
    assert control["nce"] > after["nce"] + 0.1
    assert control["patch_mse/position_ratio"] > 0.9
