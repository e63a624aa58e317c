"""What a stage of pre-training takes over from the one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import Loader
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Encoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.objectives.contract import Objective, Preparation, View
from auricle.objectives.predictive.teacher import MovingAverage
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.recipes.load import load, load_recipe
from auricle.recipes.recipe import Recipe
from auricle.recipes.stage_settings import stages_in, with_stages
from auricle.training.checkpoint import load_tensors
from auricle.training.randomness import derive_seed
from auricle.training.run_folder import RunFolder

# Clips that a stage before the first step takes at once.
PREPARED_AT_ONCE = 32


def handed_on(recipe: Recipe, previous: str | Path) -> Recipe:
    """Tell the objective what kind of encoder the stage before trained, wherever it holds one."""
    trained = load_recipe(previous)
    return recipe.replace(
        objective=with_stages(recipe.objective, PreviousEncoderConfig(trained.encoder, trained.frontend))
    )


def as_begun(recipe: Recipe, begun: RunFolder) -> Recipe:
    """Take the stages that an objective holds from the run that is resumed: they are in its checkpoint."""
    found = stages_in(Recipe.from_json(begun.recipe).objective)
    return recipe.replace(objective=with_stages(recipe.objective, found[0])) if found else recipe


def preparing(
    recipe: Recipe,
    corpus: Corpus,
    frontend: FrontEnd,
    encoder: Encoder,
    objective: Objective,
    previous: str | Path | None,
) -> Callable[[Callable[[str], None]], None] | None:
    """Return what has to be done before the first step, or None if nothing has.

    What is returned takes a function that notes a line in the run's log.

    Args:
        recipe: of this stage.
        corpus: what is trained on.
        frontend: of the encoder.
        encoder: what is trained.
        objective: what trains it.
        previous: run folder of the stage before.
    """
    if not objective.prepares and recipe.begin == "fresh":
        return None

    def prepare(note: Callable[[str], None]) -> None:
        frozen = None if previous is None else load(previous)
        if recipe.begin == "previous":
            if frozen is None:
                raise ConfigError(
                    f"{recipe.name} {recipe.size} goes on from an earlier stage's weights and there is none; give its "
                    "run folder (--previous)"
                )
            load_tensors(encoder, frozen.encoder.state_dict(), f"the stage before ({previous})")
            for module in objective.modules():
                # A slow copy was made of the fresh weights.
                if isinstance(module, MovingAverage) and module.copies(encoder):
                    module.follow(encoder, 0.0)
            note(f"began with the weights of {previous}")
        if objective.prepares:
            objective.prepare(encoder, _preparation(recipe, corpus, frontend, frozen, note))

    return prepare


def _preparation(
    recipe: Recipe, corpus: Corpus, frontend: FrontEnd, previous: FrozenEncoder | None, note: Callable[[str], None]
) -> Preparation:
    """Return what an objective may hear before the first step: each window once, without augmentation."""
    plain = PlainViewsConfig().build(frontend)
    seed = derive_seed(recipe.train.seed, "prepare")
    # Small batches, whatever a training step takes, and long recordings by their length.
    batch = min(recipe.loader.batch, recipe.train.micro_batch or PREPARED_AT_ONCE, PREPARED_AT_ONCE, len(corpus))
    settings = recipe.loader.replace(batch=batch, batch_seconds=None, drop_last=False, buckets=0)
    loader = Loader(corpus, recipe.window, settings, rate=frontend.rate, seed=seed)

    def views(clips: int) -> Iterator[View]:
        seen = 0
        for batch in loader.iterate():
            if batch.epoch > 0 or seen >= clips:
                return
            seen += len(batch.clip)
            with torch.no_grad():
                (made,) = plain(batch.audio, 1, torch.Generator())
            yield View(made.features, batch.clip, made.certificate, made.reference)

    windows = loader.steps_per_epoch * settings.batch
    return Preparation(views, windows, previous, torch.Generator().manual_seed(seed), note)
