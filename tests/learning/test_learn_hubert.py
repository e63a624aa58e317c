from __future__ import annotations

from pathlib import Path

import pytest
from cluster_lessons import cluster_lesson

from auricle.recipes import get_recipe


@pytest.mark.real
def test_hubert_hears_what_is_hidden(shared_audio: Path) -> None:
    made = cluster_lesson(get_recipe("hubert"), shared_audio, 130)
    before, after = made.learn()
    assert after["codes/code_accuracy"] > after["codes/majority"] + 0.10, (before, after)
    assert after["codes/code_accuracy"] > after["codes/position_accuracy"] + 0.10, (before, after)
    assert after["codes"] < after["codes/unigram"] - 0.15, (before, after)
    assert before["codes"] > after["codes/unigram"]
    assert after["codes/perplexity"] > 8
    _, shuffled = made.learn(shuffled=True)
    assert shuffled["codes/code_accuracy"] < after["codes/majority"] + 0.03, shuffled
    assert shuffled["codes"] > after["codes/unigram"] - 0.05, shuffled
