"""Whether a recipe learns: its own signal on held-out real clips, before and after a short training.

The training goes through the recipe's own parts: front end with measured statistics, views, encoder, objective, and the
training step of the product. The control trains the same on targets that belong to other clips.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch

from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import Loader
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Encoder
from auricle.objectives.contract import Objective, Preparation, View
from auricle.recipes.building import build
from auricle.recipes.recipe import Recipe
from auricle.training.batch_statistics import BATCHES, estimate_statistics
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep

CPU = torch.device("cpu")


@dataclass
class Lesson:
    """A recipe, made ready to learn from some clips of a corpus and to be tested on others.

    Attributes:
        recipe: resolved; its batch, windows and steps are what the lesson takes.
        taught: clips to learn from.
        held: clips that are kept apart.
    """

    recipe: Recipe
    taught: Corpus
    held: Corpus
    parts: tuple[FrontEnd, Encoder, Objective] = field(init=False)

    def __post_init__(self) -> None:
        if self.recipe.measure_statistics and self.recipe.frontend.uses_statistics:
            mean, std = measure_statistics(
                self.taught, self.recipe.frontend.build(), window=self.recipe.window, clips=200, seed=0, progress=False
            )
            self.recipe = self.recipe.replace(frontend=self.recipe.frontend.with_statistics(mean, std))

    def fresh(self, seed: int = 0, shuffled: bool = False) -> tuple[Encoder, Objective, TrainingStep]:
        """Return newly built parts, prepared, and what trains them."""
        frontend, encoder, objective = build(self.recipe, seed)
        objective.shuffled = shuffled
        self.parts = (frontend, encoder, objective)
        if objective.columns:
            objective.take_columns({name: self.taught.column(name) for name in objective.columns})
        if objective.prepares:
            objective.prepare(encoder, self.preparation(frontend))
        views = self.recipe.augment.build(frontend)
        step = TrainingStep(encoder, objective, views, self.recipe.train, Ranks(0, 1, CPU))
        return encoder, objective, step

    def preparation(self, frontend: FrontEnd) -> Preparation:
        """Return what `prepare` is given: the taught clips."""
        plain = PlainViewsConfig().build(frontend)

        def views(clips: int):
            loader = self.recipe.loader.replace(sampling="clip", drop_last=False, workers=0)
            seen = 0
            for batch in Loader(self.taught, self.recipe.window, loader, rate=frontend.rate, seed=1).iterate():
                if batch.epoch > 0 or seen >= clips:
                    return
                seen += len(batch.clip)
                (made,) = plain(batch.audio, 1, torch.Generator())
                yield View(made.features, batch.clip, made.certificate, made.reference)

        return Preparation(views, len(self.taught), None, torch.Generator().manual_seed(2), lambda text: None)

    @torch.no_grad()
    def test(
        self, encoder: Encoder, objective: Objective, batches: int = 3, train_mode: bool = False
    ) -> dict[str, float]:
        """Return the means over some batches of held-out clips of the loss, its parts, and all that is watched.

        Args:
            encoder: as it is now.
            objective: likewise.
            batches: how many.
            train_mode: leave the objective in training mode, for heads whose BatchNorm goes by the batch; the encoder
                is always in evaluation mode, as probes read it.
        """
        frontend = self.parts[0]
        encoder.eval()
        objective.train(train_mode)
        shuffled, objective.shuffled = objective.shuffled, False
        views = self.recipe.augment.build(frontend)
        found: dict[str, list[float]] = {}
        loader = Loader(
            self.held,
            self.recipe.window,
            self.recipe.loader.replace(sampling="clip", workers=0),
            rate=frontend.rate,
            seed=5,
        )
        for batch in loader.iterate(0):
            if batch.step == batches:
                break
            generator = torch.Generator().manual_seed(1000 + batch.step)
            made = [
                View(v.features, batch.clip, v.certificate, v.reference)
                for v in views(batch.audio, objective.views, generator)
            ]
            loss = objective(encoder, made, generator)
            for name, value in {"loss": loss.total, **loss.parts, **loss.watch}.items():
                found.setdefault(name, []).append(float(value))
        objective.shuffled = shuffled
        encoder.train()
        objective.train()
        return {name: sum(values) / len(values) for name, values in found.items()}

    def learn(
        self, shuffled: bool = False, seed: int = 0, train_mode: bool = False
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Train for `recipe.train.steps` and return the held-out numbers before and after.

        Each time the encoder's BatchNorm has the statistics of plain batches, as at the end of a run.
        """
        encoder, objective, step = self.fresh(seed, shuffled)
        frontend = self.parts[0]
        loader = Loader(
            self.taught, self.recipe.window, self.recipe.loader.replace(workers=0), rate=frontend.rate, seed=seed
        )

        def tested(steps: int) -> dict[str, float]:
            batches = islice(loader.iterate(steps), BATCHES)
            estimate_statistics(encoder, (step.plain(batch.audio) for batch in batches))
            return self.test(encoder, objective, train_mode=train_mode)

        before = tested(0)
        for batch in loader.iterate(0):
            if batch.step == self.recipe.train.steps:
                break
            result = step(batch.step, step.views(batch.step, batch.audio, batch.clip))
            assert float(result.skipped) == 0
        return before, tested(self.recipe.train.steps)


def lesson(
    recipe: Recipe,
    folder: Path,
    corpus: str = "esc50_dev20",
    *,
    steps: int = 150,
    batch: int = 32,
    lr: float | None = None,
    held: int = 100,
) -> Lesson:
    """Make a lesson on a real corpus: `held` clips are kept apart, all others taught.

    Args:
        recipe: what learns; window, encoder and objective as they are in it.
        folder: of the real corpora.
        corpus: which of them.
        steps: of training; the schedule is stretched to them.
        batch: clips.
        lr: peak learning rate; None: the recipe's.
        held: clips kept apart.
    """
    train = recipe.train.replace(steps=steps, warmup_steps=min(20, steps // 5), threads=1, micro_batch=None)
    if lr is not None:
        train = train.replace(lr=lr)
    recipe = recipe.replace(train=train, loader=recipe.loader.replace(batch=batch, workers=0))
    whole = open_corpus(folder / corpus)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0)).tolist()
    return Lesson(recipe, whole.select(sorted(order[held:])), whole.select(sorted(order[:held])))
