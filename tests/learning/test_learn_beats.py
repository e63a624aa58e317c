"""BEATs learns, stage by stage: codes of a random projection, a tokenizer of what that model hears, its codes."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from auricle.audio.frontends.frontend import FrontEnd
from auricle.corpus.loader import Loader
from auricle.corpus.sources import open_corpus
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.coding_encoder import CodingEncoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.objectives.contract import Preparation
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.previous_codes import PreviousCodesTargetConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.recipes import Recipe, get_recipe
from auricle.recipes.small_scale import window
from learning import Lesson, lesson

BODY = BEATsConfig(
    width=64, embed=32, depth=2, heads=4, position=ConvPositionConfig(kernel=16), dropout=0.0, attention_dropout=0.0
)
BLOCK = TransformerDecoderConfig(width=64, depth=1, heads=4)
_TAUGHT: dict[str, tuple[FrozenEncoder, dict[str, float]]] = {}


class StagedLesson(Lesson):
    """A lesson of a stage that is given what the stage before trained."""

    previous: FrozenEncoder | None = None

    def preparation(self, frontend: FrontEnd) -> Preparation:
        return replace(super().preparation(frontend), previous=self.previous)


def stage(name: str) -> Recipe:
    """Return a stage at the tests' size; its stage before is given by hand."""
    tiny = get_recipe(name, "tiny")
    recipe = tiny.replace(window=window(0.96), encoder=BODY, previous=None)
    objective = recipe.objective
    if name == "beats-iter1":
        target = RandomProjectionTargetConfig(codes=64, dim=64, norm="none")
        return recipe.replace(objective=objective.replace(decoder=BLOCK, terms=(CodeConfig(target),)))
    if name == "beats-tokenizer":
        previous = PreviousEncoderConfig(encoder=BODY, frontend=recipe.frontend)
        return recipe.replace(
            encoder=tiny.encoder.replace(body=BODY, codebook=tiny.encoder.codebook.replace(codes=64, dim=16)),
            objective=objective.replace(previous=previous, estimator=BLOCK),
        )
    before = PreviousEncoderConfig(encoder=stage("beats-tokenizer").encoder, frontend=recipe.frontend)
    target = PreviousCodesTargetConfig(before)
    return recipe.replace(objective=objective.replace(decoder=BLOCK, terms=(CodeConfig(target),)))


def taught(name: str, folder: Path, shuffled: bool = False) -> tuple[FrozenEncoder, dict[str, float]]:
    """Return what a stage trained and its numbers on held-out clips; unshuffled ones are trained once."""
    if name in _TAUGHT and not shuffled:
        return _TAUGHT[name]
    before = {"beats-tokenizer": "beats-iter1", "beats": "beats-tokenizer"}.get(name)
    steps, lr = {"beats-iter1": (130, 2e-3), "beats-tokenizer": (130, 2e-3), "beats": (110, 2e-3)}[name]
    made = lesson(stage(name), folder, steps=steps, batch=32, lr=lr)
    made = StagedLesson(made.recipe, made.taught, made.held)
    made.previous = None if before is None else taught(before, folder)[0]
    _, numbers = made.learn(shuffled=shuffled)
    frontend, encoder, _ = made.parts
    found = FrozenEncoder(frontend, encoder, name=name), numbers
    if not shuffled:
        _TAUGHT[name] = found
    return found


@pytest.mark.real
def test_first_iteration_tells_codes_of_hidden_patches(shared_audio: Path) -> None:
    _, after = taught("beats-iter1", shared_audio)
    assert after["codes"] < 0.9 * after["codes/unigram"]
    assert after["codes/code_accuracy"] > after["codes/majority"] + 0.05
    # Rows of patches differ in their codes: to know the row alone is not to hear.
    assert after["codes/code_accuracy"] > after["codes/position_accuracy"] + 0.05
    assert after["rank_tokens"] > 4
    _, control = taught("beats-iter1", shared_audio, shuffled=True)
    assert control["codes/code_accuracy"] < control["codes/position_accuracy"] + 0.03
    assert control["codes"] > after["codes"] + 0.15


@pytest.mark.real
def test_codes_of_the_tokenizer_tell_what_the_model_before_hears(shared_audio: Path) -> None:
    _, after = taught("beats-tokenizer", shared_audio)
    assert 1 - after["distil"] > 0.5
    assert after["distil"] < 0.6 * after["distil/constant"]
    assert after["distil"] < 0.6 * after["distil/position"]
    assert after["codes/used"] > 0.5
    assert after["codes/perplexity"] > 10
    _, control = taught("beats-tokenizer", shared_audio, shuffled=True)
    assert control["distil"] > 0.95 * min(control["distil/constant"], control["distil/position"])


@pytest.mark.real
def test_codes_of_the_tiny_tokenizer_are_many_when_they_are_used(shared_audio: Path) -> None:
    """In evaluation mode, on held-out clips: codes that only dropout kept apart were one code without it."""
    whole = open_corpus([shared_audio / name for name in ("esc50_dev20", "arabic_commands", "medley_solos_mini")])
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0)).tolist()
    held, previous = whole.select(sorted(order[:160])), None
    for name, steps in (("beats-iter1", 80), ("beats-tokenizer", 60)):
        recipe = get_recipe(name, "tiny").replace(window=window(1.28), previous=None)
        recipe = lesson(recipe, shared_audio, steps=steps, batch=16).recipe
        made = StagedLesson(recipe, whole.select(sorted(order[160:])), held)
        made.previous = previous
        made.learn()
        frontend, encoder, _ = made.parts
        previous = FrozenEncoder(frontend, encoder.eval(), name=name)
    assert isinstance(encoder, CodingEncoder)
    assert encoder.entries == 256
    counts = torch.zeros(256)
    loader = Loader(held, recipe.window, recipe.loader.replace(sampling="clip"), rate=frontend.rate, seed=5)
    with torch.no_grad():
        for batch in islice(loader.iterate(0), 10):
            codes = encoder.codes(encoder.tokenize(frontend(batch.audio)))
            counts += torch.bincount(codes.flatten(), minlength=256)
    perplexity = torch.special.entr(counts / counts.sum()).sum().exp().item()
    assert perplexity > 60, perplexity
    assert (counts > 0).sum() > 80


@pytest.mark.real
def test_second_iteration_tells_the_tokenizers_codes(shared_audio: Path) -> None:
    _, after = taught("beats", shared_audio)
    assert after["codes"] < 0.85 * after["codes/unigram"]
    assert after["codes/code_accuracy"] > after["codes/majority"] + 0.1
    assert after["codes/code_accuracy"] > after["codes/position_accuracy"] + 0.1
    _, control = taught("beats", shared_audio, shuffled=True)
    assert control["codes/code_accuracy"] < control["codes/position_accuracy"] + 0.05
