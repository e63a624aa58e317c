"""Building: from a recipe to front end, encoder and objective, their weights drawn from a seed."""

from __future__ import annotations

import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEnd
from auricle.encoders.contract import Encoder
from auricle.objectives.contract import Objective
from auricle.recipes.recipe import Recipe
from auricle.training.randomness import derive_seed


def build(recipe: Recipe, seed: int) -> tuple[FrontEnd, Encoder, Objective]:
    """Build a recipe's front end, encoder and objective, their weights drawn from the seed."""
    frontend, encoder = build_encoder(recipe, seed)
    return frontend, encoder, recipe.objective.build(encoder, generator(seed, "objective"))


def build_encoder(recipe: Recipe, seed: int) -> tuple[FrontEnd, Encoder]:
    """Build a recipe's front end and encoder as `build` does, without the objective and the parts that it needs."""
    return recipe.frontend.build(), recipe.encoder.build(generator(seed, "encoder"))


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return the generator of initial weights, for `encoder` or `objective`."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose))


def check_fit(recipe: Recipe, frontend: FrontEnd, encoder: Encoder) -> None:
    """Refuse a window or front end that does not fit the views or the encoder."""
    recipe.augment.check_window(recipe.window.seconds)
    samples = recipe.window.samples(frontend.rate)
    encoder.eval()  # norms must not learn from silence
    with torch.no_grad():
        encoder.tokenize(frontend(Audio(torch.zeros(1, samples), torch.tensor([samples]), frontend.rate)))
