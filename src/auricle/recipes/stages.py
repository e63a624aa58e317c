"""What a stage of pre-training takes over from the previous one."""

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
from auricle.recipes.building import build_encoder
from auricle.recipes.loading import load, load_recipe
from auricle.recipes.recipe import Recipe, previous_encoders, with_previous_encoder
from auricle.training.checkpoint import load_tensors, misfits
from auricle.training.randomness import derive_seed
from auricle.training.run_folder import RunFolder

# Clips in a batch of what an objective prepares before the first step.
PREPARED_AT_ONCE = 32


def on_previous(recipe: Recipe, previous: str | Path) -> Recipe:
    """Return the recipe with the encoder of the previous stage's run, wherever its objective holds one."""
    stage = load_recipe(previous)
    trained = PreviousEncoderConfig(stage.encoder, stage.frontend)
    return recipe.replace(objective=with_previous_encoder(recipe.objective, trained))


def as_begun(recipe: Recipe, begun: RunFolder) -> Recipe:
    """Return the recipe with the previous encoder of the run that is resumed: its weights are in the checkpoint."""
    found = previous_encoders(Recipe.from_json(begun.recipe).objective)
    return recipe.replace(objective=with_previous_encoder(recipe.objective, found[0])) if found else recipe


def check_begin(recipe: Recipe, encoder: Encoder, previous: Recipe) -> None:
    """Refuse to begin with the weights of a previous stage whose encoder has other tensors.

    Raises:
        ConfigError: naming how they differ.
    """
    faults = misfits(encoder, build_encoder(previous, previous.train.seed)[1].state_dict())
    if faults:
        raise ConfigError(
            f"{recipe.name} begins with the weights of its previous stage, {previous.name}, whose encoder is another: "
            f"{faults}; expected the same encoder. Set --begin fresh, or --previous to a run of the same encoder"
        )


def preparing(
    recipe: Recipe,
    corpus: Corpus,
    frontend: FrontEnd,
    encoder: Encoder,
    objective: Objective,
    previous: str | Path | None,
) -> Callable[[Callable[[str], None]], None] | None:
    """Return the work to do before the first step, or None where there is none.

    The returned function takes a function that notes a line in the run's log.

    Args:
        recipe: of this stage.
        corpus: the training clips.
        frontend: of the encoder.
        encoder: the encoder to train.
        objective: its loss.
        previous: run folder of the previous stage.
    """
    if not objective.prepares and recipe.begin == "fresh":
        return None

    def prepare(note: Callable[[str], None]) -> None:
        frozen = None if previous is None else load(previous)
        if recipe.begin == "previous" and frozen is not None:  # otherwise refused before
            load_tensors(encoder, frozen.encoder.state_dict(), f"the previous stage ({previous})")
            for module in objective.modules():
                # The slow copy was made of the fresh weights.
                if isinstance(module, MovingAverage) and module.copies(encoder):
                    module.follow(encoder, 0.0)
            note(f"began with the weights of {previous}")
        if objective.prepares:
            objective.prepare(encoder, _preparation(recipe, corpus, frontend, frozen, note))

    return prepare


def _preparation(
    recipe: Recipe, corpus: Corpus, frontend: FrontEnd, previous: FrozenEncoder | None, note: Callable[[str], None]
) -> Preparation:
    """Return the input of an objective before the first step: each window once, without augmentation."""
    plain = PlainViewsConfig().build(frontend)
    seed = derive_seed(recipe.train.seed, "prepare")
    # Small batches, whatever the batch of a training step, and long recordings by their length.
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
