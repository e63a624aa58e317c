from __future__ import annotations

from pathlib import Path

import pytest

from auricle.recipes import get_recipe
from auricle.recipes.methods.reconstruction.ssast import patch_terms
from learning import lesson


@pytest.mark.real
def test_hidden_patches_are_reconstructed_and_told_apart(shared_audio: Path) -> None:
    recipe = get_recipe("ssast", "tiny")
    small = recipe.replace(
        window=recipe.window.replace(seconds=0.975),
        encoder=recipe.encoder.replace(width=64, depth=3, heads=4, frames=96),
        objective=recipe.objective.replace(terms=patch_terms(64, "ignored")),
    )
    taught = lesson(small, shared_audio, "piano_notes", steps=200, batch=16, lr=3e-3, held=72)
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
