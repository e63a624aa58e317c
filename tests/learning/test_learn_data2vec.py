"""data2vec and data2vec 2.0 learn latents that no place and no constant tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.encoders.conv_position import ConvPositionConfig
from auricle.objectives.teacher import TeacherConfig
from auricle.recipes import Recipe, get_recipe
from learning import lesson

pytestmark = pytest.mark.real


def small(recipe: Recipe, position: ConvPositionConfig) -> Recipe:
    """Return the recipe on 0.66 s, with a stem of three convolutions for seven; the hop stays 20 ms.

    In so short a window positions must look less far than published, or every token knows its place from the edges.
    """
    stem = recipe.encoder.stem.replace(layers=((32, 20, 10), (32, 8, 8), (32, 4, 4)))
    encoder = recipe.encoder.replace(stem=stem, width=96, depth=4, heads=4, position=position)
    teacher = TeacherConfig(0.98, 0.998, scope="context")
    return recipe.replace(
        window=recipe.window.replace(seconds=0.66), encoder=encoder, objective=recipe.objective.replace(teacher=teacher)
    )


def test_data2vec(shared_audio: Path) -> None:
    school = lesson(
        small(get_recipe("data2vec", "tiny"), ConvPositionConfig(5, 8, 3)), shared_audio, steps=130, batch=16, lr=2e-3
    )
    _, after = school.learn()
    _, control = school.learn(shuffled=True)
    assert after["latent"] < 0.9 * min(after["latent/constant"], after["latent/position"])
    assert after["latent/std_target"] > 0.1
    assert after["latent/std_prediction"] > 0.1
    assert control["latent"] > 0.95 * min(control["latent/constant"], control["latent/position"])
