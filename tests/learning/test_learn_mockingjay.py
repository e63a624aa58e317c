from __future__ import annotations

from pathlib import Path

import pytest

from auricle.objectives.predictive.altered_regression import AlteredRegressionConfig
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.recipes import get_recipe
from learning import lesson


@pytest.mark.real
def test_altered_frames_are_reconstructed_better_than_by_a_line_between_their_neighbours(shared_audio: Path) -> None:
    recipe = get_recipe("mockingjay", "tiny")
    small = recipe.replace(
        window=recipe.window.replace(seconds=0.64),
        encoder=recipe.encoder.replace(width=128, depth=2, heads=4, dropout=0.0, attention_dropout=0.0),
        objective=recipe.objective.replace(
            terms=(AlteredRegressionConfig(head=MlpHeadConfig((128,), norm="after")),),
        ),
    )
    taught = lesson(small, shared_audio, "nemo_pl", steps=250, batch=16, lr=1e-3, held=96)
    before, after = taught.learn()
    loss = "reconstruction"
    assert before[loss] > 0.9 * before[f"{loss}/clip_mean"]
    assert after[loss] < 0.75 * after[f"{loss}/clip_mean"]
    assert after[loss] < 0.8 * after[f"{loss}/constant"]
    assert after[loss] < 0.97 * after[f"{loss}/interpolation"]
    assert after[f"{loss}/position_ratio"] < 0.75
    _, control = taught.learn(shuffled=True)
    assert control[loss] > 0.97 * control[f"{loss}/constant"]
