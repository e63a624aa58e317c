"""BYOL-A finds the other view of a held-out clip, and its loss is not that of a constant."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.objectives.predictive.bootstrap import byol_head
from auricle.recipes import get_recipe
from learning import lesson


@pytest.mark.real
def test_byol_a_learns(shared_audio: Path) -> None:
    recipe = get_recipe("byol-a")
    head = byol_head(256, 64)
    taught = lesson(
        recipe.replace(
            frontend=recipe.frontend.replace(mels=32, hop=320),
            encoder=recipe.encoder.replace(mels=32, frame_rate=50.0, channels=16, width=384, hidden=256),
            objective=recipe.objective.replace(projector=head, predictor=head),
        ),
        shared_audio,
        steps=120,
        batch=32,
        lr=2e-3,
    )
    # BatchNorm goes by the batch, as in training: the teacher has no statistics of its own.
    before, after = taught.learn(train_mode=True)
    assert after["accuracy"] > 4 / 32
    assert after["accuracy"] > 2 * before["accuracy"]
    # Neither collapsed nor constant: the two false successes of a loss that falls.
    assert after["std_z"] > 0.5
    assert after["std_target"] > 0.5
    assert after["rank_z"] > 5
    assert after["loss"] < 0.7 * after["constant"]
    _, control = taught.learn(shuffled=True, train_mode=True)
    assert control["accuracy"] < after["accuracy"] / 2
    assert control["loss"] > 0.9 * control["constant"]
