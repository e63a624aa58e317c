from __future__ import annotations

from pathlib import Path

import pytest

from auricle.objectives.predictive.window_decoder import WindowDecoderConfig
from auricle.recipes import get_recipe
from learning import lesson


@pytest.mark.real
def test_hidden_patches_are_reconstructed_from_what_is_heard(shared_audio: Path) -> None:
    recipe = get_recipe("audio-mae", "tiny")
    small = recipe.replace(
        # 64 frames: 16 x 4 patches of 4 frames, 12 of them seen.
        window=recipe.window.replace(seconds=0.655),
        encoder=recipe.encoder.replace(width=64, depth=3, heads=4, frames=64, patch=(4, 32)),
        objective=recipe.objective.replace(decoder=WindowDecoderConfig(width=64, depth=2, heads=4)),
    )
    taught = lesson(small, shared_audio, "piano_notes", steps=250, batch=16, lr=3e-3, held=72)
    before, after = taught.learn()
    # 1 is who knows each patch's mean; the others are its mean over all places, and over the other clips in its place.
    assert before["patch_mse"] > 0.98
    assert after["patch_mse"] < 0.85
    assert after["patch_mse"] < 0.87 * after["patch_mse/constant"]
    assert after["patch_mse/position_ratio"] < 0.9
    _, control = taught.learn(shuffled=True)
    # The mean of 15 other clips is by a fifteenth worse than the mean of all, which the control comes to know.
    assert control["patch_mse/position_ratio"] > 0.9
    assert control["patch_mse"] > after["patch_mse"] + 0.04
