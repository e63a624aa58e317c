"""APC and VQ-APC learn: frames ahead on held-out speech, against copying, positions and another clip's frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.recipes import Recipe, get_recipe
from auricle.recipes.small_scale import window
from learning import lesson


def small(name: str) -> Recipe:
    recipe = get_recipe(name)
    return recipe.replace(window=window(0.8), encoder=recipe.encoder.replace(width=128, dropout=0.0))


@pytest.mark.real
def test_apc(shared_audio: Path) -> None:
    made = lesson(small("apc"), shared_audio, "nemo_pl", steps=80, batch=32, lr=4e-3)
    before, after = made.learn()
    assert before["future"] > 0.95 * before["future/constant"]
    assert after["future"] < 0.9 * after["future/copy_last"]
    assert after["future"] < 0.85 * after["future/position"]
    assert after["future/std_prediction"] > 0.3
    assert after["future/rank_prediction"] > 5
    _, control = made.learn(shuffled=True)
    # Nothing but the mean frame is left to learn.
    assert control["future"] > 0.95 * control["future/constant"]
    assert control["future"] > control["future/copy_last"]


@pytest.mark.real
def test_vq_apc(shared_audio: Path) -> None:
    made = lesson(small("vq-apc"), shared_audio, "nemo_pl", steps=100, batch=32, lr=4e-3)
    before, after = made.learn()
    assert after["future"] < 0.95 * before["future"]
    assert after["future"] < 0.9 * after["future/copy_last"]
    assert after["future"] < 0.95 * after["future/position"]
    # More than one code's worth of sound passes, at little cost: the same network without codes is hardly better.
    assert after["codes/perplexity"] > 10
    free = small("apc")
    free = free.replace(objective=free.objective.replace(ahead=small("vq-apc").objective.ahead))
    _, free_after = lesson(free, shared_audio, "nemo_pl", steps=100, batch=32, lr=4e-3).learn()
    assert after["future"] < 1.15 * free_after["future"]
    _, control = made.learn(shuffled=True)
    assert control["future"] > 0.95 * control["future/constant"]
