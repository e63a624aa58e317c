"""Cells of a study: pieces of work that exist once on disk, found again by all that decides their result."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auricle.config import Config, Natural
from auricle.corpus.sources import open_corpus, open_for
from auricle.corpus.table import Corpus
from auricle.devices import find_device
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.evaluation.controls import baseline, controls
from auricle.evaluation.driver import FILE, EvaluatedEncoder, EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.probing import evaluated_on
from auricle.models import Model, load
from auricle.probes import SearchConfig
from auricle.recipes import Recipe, get_recipe, pretrain
from auricle.recipes.building import build_encoder
from auricle.recipes.families import get_family, on_family
from auricle.recipes.loading import load_recipe, parse_recipe
from auricle.recipes.matrix import try_pair
from auricle.results.record import Control, Result
from auricle.results.scoring import compare
from auricle.storage import write_json
from auricle.studies.budget import Budget, fit_steps, stages
from auricle.tasks.cards.registry import get_task
from auricle.training.threads import threads

# Raised when results of cells made before are no longer those that this version would make.
SCHEME = 1
# Probes of a study: a short search, one seed; intervals are over test clips, seeds are those of pre-training.
QUICK = EvaluationConfig(seeds=1, search=SearchConfig(lr_count=3, epochs=10), controls=False)


@dataclass(frozen=True)
class Diet(Config, section="diet"):
    """What encoders are pre-trained on.

    Attributes:
        only: corpora by the names of their folders below the data, or specs such as `builtin:scenes?clips=600`; empty:
            all that the data hold.
        exclude: corpora that are kept for the evaluation.
    """

    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def open(self, data: str) -> Corpus:
        """Open the corpora below `data`.

        Raises:
            CorpusError: one of them is not there.
        """
        if not self.only:
            return open_corpus(data, exclude=self.exclude)
        return open_corpus([name if ":" in name else Path(data) / name for name in self.only])


@dataclass
class Place:
    """Where the cells of a study work.

    Attributes:
        data: the folder of corpora, or anything that `open_corpus` opens.
        out: the study's folder.
        device: where encoders are trained and evaluated.
        precision: of evaluated encoders; pre-trainings have that of their recipe.
        progress: show progress bars inside of cells.
    """

    data: str
    out: Path
    device: str = "cpu"
    precision: str = "fp32"
    progress: bool = False
    _corpora: dict[Any, Corpus] = field(default_factory=dict)
    _controls: dict[Path, EvaluatedEncoder | None] = field(default_factory=dict)
    _names: dict[Cell, str] = field(default_factory=dict)

    def folder(self, cell: Cell) -> Path:
        """Return the folder of a cell."""
        if cell not in self._names:
            self._names[cell] = cell.name(self)
        return self.out / "cells" / self._names[cell]

    def pretraining(self, diet: Diet) -> Corpus:
        """Return the corpus of a diet, opened once."""
        if diet not in self._corpora:
            self._corpora[diet] = diet.open(self.data)
        return self._corpora[diet]

    def evaluation(self, task: str) -> Corpus:
        """Return the corpus of a task, opened once."""
        wanted = get_task(task).corpus
        if wanted not in self._corpora:
            builtin = wanted.startswith("builtin:")
            self._corpora[wanted] = open_corpus(wanted) if builtin else open_for(wanted, Path(self.data) / wanted)
        return self._corpora[wanted]

    def control(self, run: Path, encoder: FrozenEncoder, seed: int) -> EvaluatedEncoder | None:
        """Return the random-weight control of a run's encoder, its statistics measured once; None: it has none."""
        if run not in self._controls:
            self._controls = {run: next(iter(controls(encoder, ("random",), seed=seed)), None)}
        return self._controls[run]


@dataclass(frozen=True)
class Cell(Config, ABC):
    """Base of all cells: settings that decide a result, beside the audio that is read."""

    @property
    @abstractmethod
    def title(self) -> str:
        """A few words for progress, tables and the folder's name."""

    @property
    def needs(self) -> tuple[Cell, ...]:
        """Cells whose results this one reads."""
        return ()

    @property
    def minutes(self) -> float | None:
        """What it is planned to take of a processor; None: known only from cells of its kind that are done."""
        return None

    @abstractmethod
    def facts(self, place: Place) -> dict[str, Any]:
        """Return all that decides the result, JSON-ready: settings, and fingerprints of the audio."""

    @abstractmethod
    def run(self, place: Place, folder: Path) -> dict[str, Any]:
        """Do the work, continuing what an earlier try left in `folder`, and return the result, JSON-ready."""

    def name(self, place: Place) -> str:
        """Return the name of its folder: its title, and a fingerprint of its facts."""
        facts = {"scheme": SCHEME, **self.facts(place)}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        return f"{re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')[:80]}-{digest}"


@dataclass(frozen=True)
class Pretraining(Cell):
    """A method, trained on an encoder for a budget.

    Attributes:
        method: name of a recipe.
        encoder: an encoder family; `own`: that of the recipe.
        size: of recipe and encoder.
        seed: of weights and batches.
        diet: what it is trained on.
        budget: of all stages together.
        columns: text columns that an audio-text method reads instead of its own.
    """

    method: str
    encoder: str = "own"
    size: str = "tiny"
    seed: Natural = 0
    diet: Diet = field(default_factory=Diet)
    budget: Budget = field(default_factory=Budget)
    columns: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.method} on {self.encoder}, seed {self.seed}"

    @property
    def minutes(self) -> float | None:
        return self.budget.minutes

    def recipe(self) -> Recipe:
        """Return the recipe before its steps are fitted.

        Raises:
            ConfigError: there is no such method, size or family.
        """
        recipe = get_recipe(self.method, self.size)
        if self.columns:
            recipe = recipe.replace(objective=recipe.objective.replace(columns=self.columns))
        return recipe if self.encoder == "own" else on_family(recipe, get_family(self.encoder), self.size)

    def refusal(self) -> str:
        """Return why a contract refuses the pair; "" where it trains."""
        if self.encoder == "own":
            return ""
        found = try_pair(get_recipe(self.method, self.size), get_family(self.encoder), device="cpu")
        return found.why if found.outcome == "refused" else ""

    def facts(self, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {
            "cell": self.to_json(),
            "recipe": self.recipe().to_json(),
            "audio": place.pretraining(self.diet).fingerprint,
        }
        # A budget of time buys other steps on another kind of device.
        kind = find_device(place.device).type
        return found if kind == "cpu" else {**found, "device": kind}

    def run(self, place: Place, folder: Path) -> dict[str, Any]:
        why = self.refusal()
        if why:
            return {"refused": why}
        corpus, kept = place.pretraining(self.diet), folder / "recipe.json"
        if not kept.exists():
            speeds = place.out / "speed.json" if place.device == "cpu" else None
            fit = fit_steps(self.recipe(), corpus, self.budget, self.seed, place.device, speeds=speeds)
            write_json(kept, fit.to_json())
        recipe = parse_recipe(json.loads(kept.read_text()), kept)
        run = folder / "run"
        begun = (run / "run.json").exists()
        wall, processor = time.perf_counter(), time.process_time()
        pretrain(recipe, corpus, run, resume=True, progress=place.progress)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        every = stages(recipe)
        shown = sum(stage.train.steps * stage.loader.batch for stage in every)
        return {
            "budget": self.budget.words,
            "minutes": wall / 60,
            "processor_minutes": processor / 60,
            "resumed": begun,
            "steps": [stage.train.steps for stage in every],
            "clips": shown,
            "window": recipe.window.seconds,
            "clips_per_second": None if begun else shown / processor,
            "parameters": sum(p.numel() for p in build_encoder(recipe, 0)[1].parameters()),
        }

    def model(self, place: Place) -> Model:
        """Open the trained encoder."""
        return load(place.folder(self) / "run", device=place.device, precision=place.precision)

    def trained(self, place: Place) -> Recipe:
        """Return the recipe as it was trained, with the statistics that were measured."""
        return load_recipe(place.folder(self) / "run")


@dataclass(frozen=True)
class Evaluated(Cell):
    """A task, on the encoder of a pre-training beside random weights of the same encoder; or on a fixed baseline.

    Attributes:
        task: name of a task card.
        of: the pre-training; None: a baseline.
        baseline: `log-mel` or `mfcc`, without `of`.
        probes: of the frozen tokens.
    """

    task: str
    of: Pretraining | None = None
    baseline: str = ""
    probes: tuple[str, ...] = ("linear",)

    def __post_init__(self) -> None:
        if (self.of is None) == (not self.baseline):
            raise ConfigError("an evaluation is of a pre-training or of a baseline; pass one of them")

    @property
    def title(self) -> str:
        by = "" if self.probes == ("linear",) else f" by {', '.join(self.probes)}"
        return f"{self.task}{by}: {self.baseline if self.of is None else self.of.title}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        return () if self.of is None else (self.of,)

    def facts(self, place: Place) -> dict[str, Any]:
        of = None if self.of is None else self.of.name(place)
        settings: dict[str, Any] = {"probes": list(self.probes), "baseline": self.baseline, "seeds": QUICK.seeds}
        settings |= {} if place.precision == "fp32" else {"precision": place.precision}
        return {"task": self.task, "of": of, "audio": place.evaluation(self.task).fingerprint, **settings}

    def run(self, place: Place, folder: Path) -> dict[str, Any]:
        corpus, out = place.evaluation(self.task), place.out / "results" / self.task
        if self.of is None:
            role: Control = "log-mel" if self.baseline == "log-mel" else "mfcc"
            encoders, count = [baseline(role)], 1
        else:
            model = self.of.model(place)
            control = place.control(place.folder(self.of) / "run", model.encoder, self.of.seed)
            encoders = [evaluated_on(model, corpus), *([control] if control is not None else [])]
            count = self.of.budget.threads
        try:
            with threads(count):
                results = evaluate(
                    encoders, self.task, corpus, out=out, probes=self.probes, config=QUICK.replace(device=place.device),
                    progress=place.progress, tokens=folder / "tokens",
                )  # fmt: skip
        finally:
            shutil.rmtree(folder / "tokens", ignore_errors=True)
        mine = [one.encoder.fingerprint for one in encoders]
        results = [result for result in results if result.encoder_fingerprint in mine]
        return {
            "task": self.task,
            "results": str((out / FILE).relative_to(place.out)),
            "metric": results[0].metric,
            "better": results[0].better,
            "clips": results[0].clips,
            "seen": results[0].seen,
            "constant": results[0].constant_metrics.get(results[0].metric),
            "features": results[0].features,
            "probes": {probe: _numbers([r for r in results if r.probe == probe], out) for probe in self.probes},
        }


def _numbers(results: list[Result], out: Path) -> dict[str, Any]:
    """Return the values of one probe, and the paired gain over the control with its interval."""
    found: dict[str, Any] = {}
    by_role = {"random" if result.role == "random" else "encoder": result for result in results}
    for role, result in by_role.items():
        found[role] = {"value": result.value, "low": result.low, "high": result.high, "key": result.key}
    if len(by_role) == 2:
        gain = compare(by_role["encoder"], by_role["random"], out)
        found["gain"] = {"value": gain.value, "low": gain.interval.low, "high": gain.interval.high, "p": gain.p}
    return found
