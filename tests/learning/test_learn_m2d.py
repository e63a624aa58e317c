"""M2D learns: what its teacher makes of the masked patches, beyond what is known from places."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import get_recipe
from learning import lesson


@pytest.mark.real
def test_latents_of_the_masked_half(shared_audio: Path) -> None:
    recipe = get_recipe("m2d", "tiny")
    recipe = recipe.replace(
        window=recipe.window.replace(seconds=1.27),
        encoder=recipe.encoder.replace(width=96, depth=4, heads=4, frames=128),
        objective=recipe.objective.replace(decoder=TransformerDecoderConfig(64, 2, 4, init="xavier_uniform")),
    )
    assert recipe.encoder.positions == "sincos"
    school = lesson(recipe, shared_audio, steps=80, batch=16, lr=1e-3)
    before, after = school.learn()
    _, control = school.learn(shuffled=True)
    assert after["latent"] < 0.5 * min(after["latent/constant"], after["latent/position"])
    assert after["latent"] < 0.8 * control["latent"]
    # Fixed positions and the first weights: the target says more than where a patch lies, from the first step on.
    for made in (before, after):
        assert made["latent/position"] > 0.9 * made["latent/constant"] > 0.2
