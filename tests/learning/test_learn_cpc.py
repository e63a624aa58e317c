"""CPC learns: what follows is told from other clips on held-out speech, worse the farther it lies."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from auricle.encoders.parts.waveform_stem import CPC
from auricle.encoders.waveform_recurrent import WaveformRecurrentConfig
from auricle.recipes import get_recipe
from auricle.recipes.small_scale import window
from learning import lesson


@pytest.mark.real
def test_cpc(shared_audio: Path) -> None:
    recipe = get_recipe("cpc")
    recipe = recipe.replace(
        window=window(0.64),
        encoder=WaveformRecurrentConfig(stem=CPC.narrow(32), width=64, depth=1),
        objective=recipe.objective.replace(steps=4, negatives=10, pool="others"),  # type: ignore[call-arg]
    )
    made = lesson(recipe, shared_audio, "nemo_pl", steps=80, batch=32, lr=4e-3)
    before, after = made.learn()
    assert before["future"] == pytest.approx(math.log(11), abs=0.02)
    assert after["future"] < 2.0
    assert after["future/accuracy"] > 2.5 / 11
    # Farther is harder, and no collapse to few directions.
    near, far = after["future/accuracy_1"], after["future/accuracy_4"]
    assert near > far + 0.03
    assert after["future/accuracy_2"] >= far
    assert after["future/rank_candidates"] > 4
    assert after["future/std_candidates"] > 0.1
    _, control = made.learn(shuffled=True)
    assert control["future"] > math.log(11) - 0.1
    assert control["future/accuracy"] < 1.6 / 11
