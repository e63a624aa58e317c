"""SSLAM's second stage learns on mixtures: patches, the clip, and both sources, each beyond its constant and places."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.objectives.predictive.conv_decoder import Conv2dDecoderConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.recipes import get_recipe
from learning import lesson


@pytest.mark.real
def test_every_term_beats_its_baselines(shared_audio: Path) -> None:
    recipe = get_recipe("sslam", "tiny")
    recipe = recipe.replace(
        previous=None,
        begin="fresh",
        window=recipe.window.replace(seconds=1.28),
        encoder=recipe.encoder.replace(width=96, depth=3, heads=4, frames=128),
        objective=recipe.objective.replace(
            clones=2, decoder=Conv2dDecoderConfig(width=96, depth=2), teacher=TeacherConfig(0.98, 0.998)
        ),
    )
    _, after = lesson(recipe, shared_audio, steps=80, batch=8, lr=2e-3).learn()
    for name, share in (("patch", 0.98), ("retention", 0.95), ("clip", 0.5)):
        assert after[name] < share * min(after[f"{name}/constant"], after[f"{name}/position"])
        assert after[f"{name}/std_target"] > 0.1
