from __future__ import annotations

from pathlib import Path

import pytest
from cluster_lessons import cluster_lesson

from auricle.recipes import get_recipe


@pytest.mark.real
def test_wavlm_predicts_the_clean_clips_codes_from_mixed_ones(shared_audio: Path) -> None:
    recipe = get_recipe("hubert").replace(augment=get_recipe("wavlm").augment)
    made = cluster_lesson(recipe, shared_audio, 120)
    before, _ = made.learn()
    encoder, objective = made.parts[1:]
    (mix,) = recipe.augment.wave
    # The same draws, and nothing mixed.
    made.recipe = made.recipe.replace(augment=recipe.augment.replace(wave=(mix.replace(p=0.0),)))
    clean = made.test(encoder, objective)
    # Everything is mixed, over up to the whole clip and as loud as the clip at least: the codes stay the clip's.
    loud = mix.replace(p=1.0, noise_share=0.0, speech_db=(-5.0, 0.0), longest=1.0)
    made.recipe = made.recipe.replace(augment=recipe.augment.replace(wave=(loud,)))
    mixed = made.test(encoder, objective)
    assert mixed["codes/majority"] == clean["codes/majority"]
    assert before["codes/code_accuracy"] < clean["codes/majority"]
    assert clean["codes/code_accuracy"] > clean["codes/majority"] + 0.08, (clean, mixed)
    assert clean["codes/majority"] + 0.02 < mixed["codes/code_accuracy"] < clean["codes/code_accuracy"], (clean, mixed)
    made.recipe = made.recipe.replace(augment=recipe.augment, train=made.recipe.train.replace(steps=60))
    _, shuffled = made.learn(shuffled=True)
    assert shuffled["codes/code_accuracy"] < clean["codes/majority"] + 0.03, shuffled
