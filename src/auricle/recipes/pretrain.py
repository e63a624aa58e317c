"""From a recipe and a corpus to a run folder."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from auricle.audio.batch import Audio
from auricle.audio.frontend import FrontEnd
from auricle.corpus.loader import Loader
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.table import Corpus
from auricle.corpus.windows import padding_warning
from auricle.encoders.contract import Encoder
from auricle.errors import CheckpointError, ConfigError
from auricle.objectives.contract import Objective
from auricle.recipes.recipe import Recipe, get_recipe, recipes
from auricle.training.loop import train
from auricle.training.randomness import derive_seed
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.threads import step_threads, threads

# Above this share of padding an encoder learns where the padding begins before it learns anything else.
MOSTLY = 0.5


def pretrain(
    recipe: Recipe,
    data: str | Path | Corpus,
    out: str | Path,
    *,
    resume: bool = False,
    exclude: Sequence[str] = (),
    progress: bool = True,
) -> Path:
    """Pre-train an encoder on a corpus and return its run folder.

    The folder gets `recipe.json` (resolved: with the statistics that were measured), `corpus.json`,
    `environment.json`, metrics, events and checkpoints: everything needed to repeat the run.

    Args:
        recipe: what to do.
        data: a corpus, or anything that `open_corpus` takes.
        out: the run folder; it must not hold a run, unless `resume`.
        resume: go on from the latest checkpoint in `out`, with the same recipe and corpus.
        exclude: sub-corpora to leave out.
        progress: show a progress line.

    Raises:
        CheckpointError: `out` holds a run already, there is nothing to resume, or recipe or corpus are others now.
        CorpusError: the corpus can't be opened, or is empty.
        ConfigError: settings contradict each other.
        TrainingError: training can't go on (see `training.loop.train`).
        KeyboardInterrupt: it was stopped by Ctrl-C; a checkpoint was written before.
    """
    ranks = Ranks.start(recipe.train.device)
    earlier = None
    if resume:
        earlier = RunFolder.open(out, writes=ranks.main)
        earlier.checkpoint()
    elif ranks.main:
        RunFolder.check_new(Path(out))
    corpus = _open(data, exclude, ranks)
    if earlier is not None:
        _check_corpus(earlier, corpus)
    recipe = _resolve(recipe, corpus, earlier, ranks, progress)
    seed = recipe.train.seed
    frontend, encoder, objective = build(recipe, seed)
    loader = Loader(
        corpus,
        recipe.window,
        recipe.loader,
        rate=frontend.rate,
        seed=derive_seed(seed, "loader"),
        rank=ranks.rank,
        world=ranks.world,
    )
    _check_fit(recipe, frontend, encoder)
    if earlier is not None:
        earlier.check_recipe(recipe.to_json())
        run = earlier
    else:
        run = RunFolder.create(out, recipe.to_json(), writes=ranks.main)
        run.write("corpus.json", _describe_corpus(corpus, exclude, {}))
        run.write("environment.json", {"sessions": []})
    _note_session(run, recipe, ranks)
    ending = train(
        run=run,
        loader=loader,
        augment=recipe.augment.build(frontend),  # type: ignore[arg-type]  # refuses other kinds, saying why
        encoder=encoder,
        objective=objective,
        config=recipe.train,
        resume=resume,
        progress=progress,
        ranks=ranks,
        warnings=_padding_warnings(corpus, recipe, loader),
    )
    broken = {file: why for part in ranks.gather(dict(loader.broken)) for file, why in part.items()}
    run.write("corpus.json", _describe_corpus(corpus, exclude, broken))
    if ending == "interrupted":
        raise KeyboardInterrupt
    return run.path


def build(recipe: Recipe, seed: int) -> tuple[FrontEnd, Encoder, Objective]:
    """Build a recipe's front end, encoder and objective, their weights drawn from the seed."""
    encoder = recipe.encoder.build(generator(seed, "encoder"))  # type: ignore[attr-defined]  # a Config that builds
    objective = recipe.objective.build(encoder, generator(seed, "objective"))  # type: ignore[attr-defined]
    return recipe.frontend.build(), encoder, objective


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return the generator that initial weights are drawn from."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose))


def _open(data: str | Path | Corpus, exclude: Sequence[str], ranks: Ranks) -> Corpus:
    if isinstance(data, Corpus):
        if exclude:
            raise ConfigError("exclude needs a path to open; leave clips out of a Corpus by its filter")
        return data
    # Rank 0 first: what opening a corpus prepares (a rendered or downloaded one) is then there for the others.
    corpus = open_corpus(data, exclude=tuple(exclude)) if ranks.main else None
    ranks.wait()
    return corpus if corpus is not None else open_corpus(data, exclude=tuple(exclude))


def _resolve(recipe: Recipe, corpus: Corpus, earlier: RunFolder | None, ranks: Ranks, progress: bool) -> Recipe:
    """Put the corpus's statistics into the front end: measured, or those that the run began with."""
    if not (recipe.measure_statistics and recipe.frontend.uses_statistics):
        return recipe
    if earlier is not None:
        began = Recipe.from_json(earlier.recipe)
        mean, std = getattr(began.frontend, "mean", None), getattr(began.frontend, "std", None)
        return (
            recipe
            if mean is None or std is None
            else recipe.replace(frontend=recipe.frontend.with_statistics(mean, std))
        )
    found = None
    if ranks.main:
        with threads(step_threads(recipe.train.threads, local_world=ranks.local_world)):
            found = measure_statistics(
                corpus, recipe.frontend.build(), window=recipe.window, seed=recipe.train.seed, progress=progress
            )
    mean, std = ranks.share(found)
    return recipe.replace(frontend=recipe.frontend.with_statistics(mean, std))


def _padding_warnings(corpus: Corpus, recipe: Recipe, loader: Loader) -> list[str]:
    """Return a warning where most of what the encoder would see is padding; length buckets are taken into account."""
    warning = padding_warning(corpus, recipe.window) if loader.padding() > MOSTLY else None
    return [] if warning is None else [warning]


def _check_fit(recipe: Recipe, frontend: FrontEnd, encoder: Encoder) -> None:
    """Refuse a window or front end that does not fit the encoder before anything is written."""
    samples = recipe.window.samples(frontend.rate)
    with torch.no_grad():
        encoder.tokenize(frontend(Audio(torch.zeros(1, samples), torch.tensor([samples]), frontend.rate)))


def _check_corpus(run: RunFolder, corpus: Corpus) -> None:
    began = run.read("corpus.json") or {}
    if began.get("fingerprint") != corpus.fingerprint:
        raise CheckpointError(
            f"{run.path} was begun on the corpus {began.get('name')} ({began.get('clips')} clips, fingerprint "
            f"{began.get('fingerprint')}); this is {corpus.name} ({len(corpus)} clips, {corpus.fingerprint}): give the "
            "same --data (and --exclude), or start a new run in another --out"
        )


def _describe_corpus(corpus: Corpus, exclude: Sequence[str], broken: dict[str, str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": corpus.name,
        "fingerprint": corpus.fingerprint,
        "clips": len(corpus),
        "hours": round(corpus.seconds / 3600, 4),
        "exclude": list(exclude),
        "broken": {**corpus.problems, **broken},
    }
    if "corpus" in corpus.columns:
        # What was heard decides what a later evaluation may call unheard.
        names = corpus.column("corpus")
        described["parts"] = {str(name): names.count(name) for name in sorted(set(names), key=str)}
    return described


def _note_session(run: RunFolder, recipe: Recipe, ranks: Ranks) -> None:
    """Add this process's surroundings to `environment.json`; a resumed run has several."""
    environment = run.read("environment.json") or {"sessions": []}
    session = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {"python": platform.python_version(), **versions()},
        "platform": platform.platform(),
        "processor": _processor(),
        "device": str(ranks.device),
        "ranks": ranks.world,
        "threads": step_threads(recipe.train.threads, local_world=ranks.local_world),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "seed": recipe.train.seed,
    }
    for before in environment["sessions"][-1:]:
        for name in ("threads", "ranks", "device"):
            if before[name] != session[name]:
                run.log(
                    f"{name} changed from {before[name]} to {session[name]}: the last bits of the numbers may differ"
                )
    environment["sessions"].append(session)
    if any(entry.name == recipe.name for entry in recipes()):
        measured = {"frontend.mean", "frontend.std"} if recipe.measure_statistics else set()
        changes = get_recipe(recipe.name, recipe.size).changes(recipe)
        environment["overrides"] = {name: list(pair) for name, pair in changes.items() if name not in measured}
    run.write("environment.json", environment)


def versions() -> dict[str, str]:
    """Return the versions of auricle and of the libraries whose numbers it depends on."""
    found = {}
    for name in ("auricle", "torch", "numpy", "soundfile", "soxr", "datasets", "accelerate", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
