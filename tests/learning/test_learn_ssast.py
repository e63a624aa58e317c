from __future__ import annotations

from pathlib import Path

import pytest

from auricle.recipes import get_recipe
from auricle.recipes.methods.ssast import patch_terms
from learning import lesson


@pytest.mark.real
def test_hidden_patches_are_told_apart_and_reconstructed(shared_audio: Path) -> None:
    recipe = get_recipe("ssast", "tiny")
    small = recipe.replace(
        window=recipe.window.replace(seconds=0.975),
        encoder=recipe.encoder.replace(width=64, depth=3, heads=4, frames=96),
        objective=recipe.objective.replace(terms=patch_terms(64, "ignored")),
    )
    taught = lesson(small, shared_audio, "piano_notes", steps=200, batch=16, lr=3e-3, held=72)
    before, after = taught.learn()
    assert before["nce"] > 0.98 * before["nce/chance"]
    assert after["nce"] < 0.87 * after["nce/chance"]
    assert after["nce"] < 0.95 * after["nce/position"]
    assert after["nce/accuracy"] > 3 * after["nce/majority"]
    assert after["patch_mse/position_ratio"] < 0.7
    _, control = taught.learn(shuffled=True)
    # Places alone tell some patches apart: low bands are louder than high ones.
    assert control["nce"] > after["nce"] + 0.1
    assert control["patch_mse/position_ratio"] > 0.9
