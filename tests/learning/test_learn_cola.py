"""COLA finds the other segment of a held-out clip in a batch of 32."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from auricle.recipes import get_recipe
from learning import lesson


@pytest.mark.real
def test_cola_learns(shared_audio: Path) -> None:
    recipe = get_recipe("cola")
    taught = lesson(
        recipe.replace(
            window=recipe.window.replace(seconds=3.0),
            frontend=recipe.frontend.replace(mels=32, hop=320),
            encoder=recipe.encoder.replace(width=256, mels=32, channels=16, frame_rate=50.0, dropout=0.0),
        ),
        shared_audio,
        steps=140,
        batch=32,
        lr=2e-3,
    )
    before, after = taught.learn(train_mode=True)
    assert after["accuracy"] > 10 / 32
    assert after["accuracy"] > before["accuracy"] + 0.2
    assert after["loss"] < 0.8 * math.log(32)
    _, control = taught.learn(shuffled=True, train_mode=True)
    assert control["loss"] > 0.95 * math.log(32)
    assert control["accuracy"] < after["accuracy"] / 3
