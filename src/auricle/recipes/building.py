"""Building: from a recipe to front end, encoder and objective, their weights drawn from a seed."""

from __future__ import annotations

import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEnd
from auricle.corpus.loader import Loader
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Encoder
from auricle.errors import CheckpointError, ConfigError
from auricle.objectives.contract import Objective
from auricle.recipes.recipe import Recipe
from auricle.training.randomness import derive_seed
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.threads import step_threads, threads
from auricle.words import counted


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
    recipe.features.check(encoder, f"the encoder of {recipe.name or 'the recipe'}")
    samples = recipe.window.samples(frontend.rate)
    encoder.eval()  # norms must not learn from silence
    with torch.no_grad():
        encoder.tokenize(frontend(Audio(torch.zeros(1, samples), torch.tensor([samples]), frontend.rate)))


def check_batch(recipe: Recipe, objective: Objective, loader: Loader) -> None:
    """Refuse a corpus so small that the lowered batch has too few clips for an objective that compares them.

    Raises:
        ConfigError: naming both numbers, and how to train all the same.
    """
    found = loader.config.batch
    if found < min(objective.fewest, recipe.loader.batch) and loader.config != recipe.loader:
        raise ConfigError(
            f"{recipe.name} compares the clips of a batch, of {recipe.loader.batch} clips here, and the corpus fills "
            f"{counted(found, 'window')} in an epoch; expected at least {objective.fewest}. Add recordings, or set "
            f"--loader.batch {found} to train with so few all the same"
        )


def check_ranks(begun: RunFolder, ranks: Ranks) -> None:
    """Refuse to resume a run on ranks that can't share its batch, lowered to its corpus or not.

    Raises:
        CheckpointError: naming both numbers, and one that divides the batch.
    """
    loader = Recipe.from_json(begun.recipe).loader
    if loader.batch_seconds is None and loader.batch % ranks.world:
        fewer = max(number for number in range(1, ranks.world) if loader.batch % number == 0)
        raise CheckpointError(
            f"the run in {begun.path} has batches of {counted(loader.batch, 'clip')}, which {ranks.world} ranks can't "
            f"share evenly; expected a number of ranks that divides them. Resume on {counted(fewer, 'rank')}"
        )


def resolve(recipe: Recipe, corpus: Corpus, begun: RunFolder | None, ranks: Ranks, progress: bool) -> Recipe:
    """Return the recipe as it fits the corpus, or as the run began with it: its batch, and the front end's statistics.

    The batch of a new run is lowered by its loader (see `Loader.config`).
    """
    began = None if begun is None else Recipe.from_json(begun.recipe)
    if began is not None and begun is not None and begun.recorded:
        # What was asked for has been compared already.
        kept = {name: getattr(began.loader, name) for name in ("batch", "batch_seconds")}
        recipe = recipe.replace(loader=recipe.loader.replace(**kept))
    if not (recipe.measure_statistics and recipe.frontend.uses_statistics):
        return recipe
    if began is not None:
        mean, std = getattr(began.frontend, "mean", None), getattr(began.frontend, "std", None)
        if mean is None or std is None:
            return recipe
        return recipe.replace(frontend=recipe.frontend.with_statistics(mean, std))
    found = None
    if ranks.main:
        with threads(step_threads(recipe.train.threads, local_world=ranks.local_world)):
            found = measure_statistics(
                corpus, recipe.frontend.build(), window=recipe.window, seed=recipe.train.seed, progress=progress
            )
    mean, std = ranks.share(found)
    return recipe.replace(frontend=recipe.frontend.with_statistics(mean, std))
