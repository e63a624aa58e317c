"""BEST-RQ learns: codes of held-out speech behind noise, against the commonest code and another clip's codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.encoders.conformer import ConformerConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.recipes import get_recipe
from auricle.recipes.small_scale import window
from learning import lesson


@pytest.mark.real
def test_hidden_codes_are_told_from_their_surroundings(shared_audio: Path) -> None:
    recipe = get_recipe("best-rq", "tiny")
    objective = recipe.objective.replace(
        terms=(CodeConfig(RandomProjectionTargetConfig(codes=64)),),
        corruption=recipe.objective.corruption.replace(length=16),
    )
    small = recipe.replace(
        window=window(0.96), objective=objective, encoder=ConformerConfig(width=64, depth=2, heads=4, channels=16)
    )
    made = lesson(small, shared_audio, "fsdd", steps=160, batch=32, lr=3e-3)
    before, after = made.learn()
    assert before["codes/code_accuracy"] < before["codes/majority"]
    # The entropy of the codes' frequencies is what a constant guess comes to, not ln 64 = 4.16.
    assert after["codes"] < after["codes/unigram"]
    assert after["codes/code_accuracy"] > after["codes/majority"] + 0.05
    assert after["codes/code_accuracy"] > after["codes/position_accuracy"] + 0.05
    assert after["codes/perplexity"] > 15
    assert after["rank_tokens"] > 5
    _, control = made.learn(shuffled=True)
    assert control["codes/code_accuracy"] < control["codes/majority"] + 0.02
    assert control["codes"] > control["codes/unigram"] - 0.02
