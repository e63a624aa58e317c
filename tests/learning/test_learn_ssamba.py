from __future__ import annotations

from pathlib import Path

import pytest

from auricle.recipes import get_recipe
from auricle.recipes.methods.ssast import patch_terms
from learning import lesson


@pytest.mark.real
def test_a_state_space_encoder_reconstructs_patches_and_tells_them_apart(shared_audio: Path) -> None:
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
    assert after["nce"] < 0.95 * after["nce/position"]
    assert after["nce/accuracy"] > 2.5 * after["nce/majority"]
    assert after["patch_mse/position_ratio"] < 0.7
    _, control = taught.learn(shuffled=True)
    # So early, patches are told apart by their bands, which the control learns as well; what they hold, it can't.
    assert control["patch_mse/position_ratio"] > 0.85
    assert control["patch_mse"] > 1.3 * after["patch_mse"]
