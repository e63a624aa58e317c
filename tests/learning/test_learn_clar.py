"""CLAR finds the other crop of a held-out clip better than an untrained net, which is good at it already."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from auricle.recipes import get_recipe
from learning import lesson


@pytest.mark.real
def test_clar_learns(shared_audio: Path) -> None:
    recipe = get_recipe("clar")
    taught = lesson(
        recipe.replace(
            frontend=recipe.frontend.replace(mels=64, hop=256),
            encoder=recipe.encoder.replace(channels=8, mels=64, frame_rate=62.5),
        ),
        shared_audio,
        steps=110,
        batch=32,
        lr=1e-3,
    )
    before, after = taught.learn(train_mode=True)
    chance = math.log(2 * 32 - 1)
    assert after["loss"] < chance - 0.5
    assert after["accuracy"] > before["accuracy"] + 0.1
    assert after["std_z"] > 0.5
    assert after["uniformity"] < -1.0
    _, control = taught.learn(shuffled=True, train_mode=True)
    assert control["loss"] > chance - 0.25
    assert control["accuracy"] < after["accuracy"] / 2
