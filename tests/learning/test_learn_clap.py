"""CLAP finds the captions of real clips of recordings that it never heard, and nothing where captions are shuffled."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.corpus.readers.side_tables import read_captions
from auricle.corpus.sources import open_corpus
from auricle.encoders.contract import Encoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.evaluation.audio_text.model import AudioText
from auricle.evaluation.audio_text.run import text_retrieval, zero_shot
from auricle.objectives.contract import Objective
from auricle.recipes import get_recipe, small_scale
from learning import Lesson

pytestmark = pytest.mark.real


class Captioned(Lesson):
    """A lesson whose held-out clips come with captions of their own."""

    def test(self, encoder: Encoder, objective: Objective, *args: int, **kwargs: bool) -> dict[str, float]:
        objective.take_columns({"caption": self.held.column("caption")})
        found = super().test(encoder, objective, *args, **kwargs)
        objective.take_columns({"caption": self.taught.column("caption")})
        self.asked = (encoder, objective)
        return found


def test_captions_of_unheard_recordings_are_found(shared_audio: Path) -> None:
    corpus = open_corpus(shared_audio / "esc10")
    captions = read_captions(shared_audio / "esc10" / "captions.csv", corpus)
    texts: list[str | None] = [None] * len(corpus)
    for row, text in zip(captions.rows, captions.texts, strict=True):
        texts[row] = text
    corpus = corpus.with_column("caption", texts)
    recipe = get_recipe("clap", "tiny").replace(encoder=SliceCNNConfig(), window=small_scale.window(1.3))
    train = recipe.train.replace(steps=70, warmup_steps=10, threads=1, lr=2e-3)
    recipe = recipe.replace(train=train, loader=recipe.loader.replace(batch=32, workers=0))
    held = corpus.filter(lambda clip: clip.fold == 5)
    made = Captioned(recipe, corpus.filter(lambda clip: clip.fold != 5), held)
    before, after = made.learn()
    assert before["accuracy"] < 3 * before["clap/chance"]
    assert after["accuracy"] > 10 * after["clap/chance"]  # measured .53, chance .034
    assert after["loss"] < 0.75 * before["loss"]
    assert after["clap/rank_audio"] > 4
    # The very towers classify and retrieve, both ways, far above chance, with intervals that say so.
    encoder, objective = made.asked
    towers = AudioText(FrozenEncoder(made.parts[0], encoder, name="towers"), objective)
    some = held.select(range(0, len(held), 2))
    answers = zero_shot(towers, some, templates=("the sound of {}", "{}"), progress=False).found
    accuracy = answers.scores[0]
    assert accuracy.chance == 0.1
    assert accuracy.interval.low > 0.15
    retrieval = text_retrieval(towers, some, progress=False).found
    found = {score.name: score for score in retrieval.scores}
    for way in ("audio to text", "text to audio"):
        recall = found[f"{way}: recall_at_1"]
        assert recall.value > 2 * recall.chance
        assert recall.interval.low <= recall.value <= recall.interval.high


def test_shuffled_captions_teach_nothing(shared_audio: Path) -> None:
    corpus = open_corpus(shared_audio / "esc10")
    corpus = corpus.with_column("caption", [f"a sound of {clip.labels[0]}" for clip in corpus])
    recipe = get_recipe("clap", "tiny").replace(encoder=SliceCNNConfig(), window=small_scale.window(1.3))
    train = recipe.train.replace(steps=50, warmup_steps=10, threads=1, lr=2e-3)
    recipe = recipe.replace(train=train, loader=recipe.loader.replace(batch=32, workers=0))
    made = Captioned(recipe, corpus.filter(lambda clip: clip.fold != 5), corpus.filter(lambda clip: clip.fold == 5))
    _, after = made.learn(shuffled=True)
    assert after["accuracy"] < 3 * after["clap/chance"]  # of ten classes; .053 untrained
    assert after["loss"] > 0.95 * 3.37
