"""AudioMosaic learns: clips it never trained on are told apart, and only where the two views are of one clip."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from auricle.audio.augment.config import Augment
from auricle.corpus.loader import Batch, Loader
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Encoder
from auricle.objectives.contract import Objective, View
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.recipes import Recipe, get_recipe
from auricle.recipes.building import build

BATCH, STEPS, LR = 64, 80, 1e-3
# An anchor has one partner among the 2B - 1 other views.
CHANCE = 1 / (2 * BATCH - 1)


def small_recipe() -> Recipe:
    recipe = get_recipe("audiomosaic", "tiny")
    return recipe.replace(
        window=recipe.window.replace(seconds=1.28),
        encoder=recipe.encoder.replace(width=96, depth=4, heads=3, frames=128),
        objective=recipe.objective.replace(projector=ProjectorConfig(hidden=(128,), out=64)),
        loader=recipe.loader.replace(batch=BATCH, workers=0),
    )


def two_views(augment: Augment, batch: Batch, generator: torch.Generator, *, shuffled: bool) -> list[View]:
    first, second = (View(v.features, batch.clip, v.certificate) for v in augment(batch.audio, 2, generator))
    if shuffled:
        # Each clip's partner is a view of the clip before it: no pair has anything in common.
        features = replace(second.features, x=second.features.x.roll(1, 0), lengths=second.features.lengths.roll(1, 0))
        second = View(features, batch.clip.roll(1))
    return [first, second]


@torch.no_grad()
def held_out_accuracy(recipe: Recipe, held: Corpus, augment: Augment, encoder: Encoder, objective: Objective) -> float:
    """Top-1 accuracy over six batches of 64 clips; the projector's BatchNorm goes by each batch, as in training."""
    encoder.eval()
    loader = Loader(held, recipe.window, recipe.loader.replace(sampling="clip"), seed=5)
    found = []
    for batch in loader.iterate(0, 6):
        generator = torch.Generator().manual_seed(batch.step)
        loss = objective(encoder, two_views(augment, batch, generator, shuffled=False), generator)
        found.append(float(loss.watch["accuracy"]))
    encoder.train()
    return sum(found) / len(found)


@pytest.mark.slow
def test_audiomosaic_learns_from_views_of_one_clip_and_not_from_views_of_two() -> None:
    recipe = small_recipe()
    corpus = open_corpus("builtin:scenes?clips=600&seed=1")
    order = torch.randperm(len(corpus), generator=torch.Generator().manual_seed(0)).tolist()
    held, taught = corpus.select(sorted(order[:128])), corpus.select(sorted(order[128:]))
    statistics = measure_statistics(
        taught, recipe.frontend.build(), window=recipe.window, clips=200, seed=0, progress=False
    )
    recipe = recipe.replace(frontend=recipe.frontend.with_statistics(*statistics))

    def learn(*, shuffled: bool) -> tuple[float, float]:
        frontend, encoder, objective = build(recipe, seed=0)
        augment = recipe.augment.build(frontend)
        before = held_out_accuracy(recipe, held, augment, encoder, objective)
        trained = [p for p in (*encoder.parameters(), *objective.parameters()) if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=LR)
        for batch in Loader(taught, recipe.window, recipe.loader, seed=0).iterate(0, STEPS):
            optimiser.param_groups[0]["lr"] = LR * min(1, (batch.step + 1) / 10) * (1 - 0.9 * batch.step / STEPS)
            generator = torch.Generator().manual_seed(batch.step)
            with torch.no_grad():
                views = two_views(augment, batch, generator, shuffled=shuffled)
            optimiser.zero_grad()
            objective(encoder, views, generator).total.backward()
            optimiser.step()
        return before, held_out_accuracy(recipe, held, augment, encoder, objective)

    untrained, learnt = learn(shuffled=False)
    _, unlearnt = learn(shuffled=True)
    assert learnt > 3.5 * CHANCE
    assert learnt > 3.5 * untrained
    assert unlearnt < 2.5 * CHANCE
