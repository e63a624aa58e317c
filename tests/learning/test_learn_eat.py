"""EAT learns: hidden patches' latents, and the clip's, beyond what is known from places or is the same for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.objectives.predictive.conv_decoder import Conv2dDecoderConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.recipes import get_recipe
from learning import lesson

pytestmark = pytest.mark.real


def test_latents_are_heard_not_placed(shared_audio: Path) -> None:
    recipe = get_recipe("eat", "tiny")
    recipe = recipe.replace(
        window=recipe.window.replace(seconds=1.28),
        encoder=recipe.encoder.replace(width=96, depth=3, heads=4, frames=128),
        objective=recipe.objective.replace(
            decoder=Conv2dDecoderConfig(width=96, depth=2), teacher=TeacherConfig(0.98, 0.998)
        ),
    )
    school = lesson(recipe, shared_audio, steps=100, batch=16, lr=2e-3)
    _, after = school.learn()
    _, control = school.learn(shuffled=True)
    assert after["patch"] < 0.9 * min(after["patch/constant"], after["patch/position"])
    assert control["patch"] > 1.1 * after["patch"]
    assert control["patch"] > 0.95 * control["patch/position"]
    # The class token says more of the clip than what is the same for all clips.
    assert after["clip"] < 0.6 * min(after["clip/constant"], after["clip/position"])
    assert after["clip"] < 0.8 * control["clip"]
    for name in ("patch", "clip"):
        # No collapse: the target still varies, and so does what is predicted.
        assert after[f"{name}/std_target"] > 0.1
        assert after[f"{name}/std_prediction"] > 0.1
    assert 0 < after["teacher_gap"] < 1
