"""From a recipe and a corpus to a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from auricle.corpus.loader import Loader
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.table import Corpus
from auricle.corpus.windows import padding_warning
from auricle.errors import CheckpointError, ConfigError
from auricle.recipes.building import build, check_fit
from auricle.recipes.columns import columns_of
from auricle.recipes.environment import note_session
from auricle.recipes.recipe import Recipe
from auricle.recipes.recordings import RECORDINGS, check_corpus, describe_corpus, write_recordings
from auricle.recipes.stage_settings import stages_in
from auricle.recipes.stages import as_begun, handed_on, preparing
from auricle.storage import write_json
from auricle.training.loop import train
from auricle.training.randomness import derive_seed
from auricle.training.ranks import Ranks
from auricle.training.run_folder import STAGE, RunFolder
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
    previous: str | Path | None = None,
) -> Path:
    """Pre-train an encoder on a corpus and return its run folder.

    A recipe of several stages trains the stages before it first, in the folder `before` of `out`, `before/before` ...

    The folder gets `recipe.json` (resolved: with the statistics that were measured), `corpus.json`,
    `recordings.parquet` (see `recordings.recording_ids`), `environment.json`, metrics, events and checkpoints:
    everything needed to repeat the run.

    Args:
        recipe: what to do.
        data: a corpus, or anything that `open_corpus` takes.
        out: the run folder; it must not hold a run that made a step, unless `resume`. Finished stages in it are taken.
        resume: go on from the latest checkpoint in `out`, with the same recipe and corpus; a run that was killed before
            its first checkpoint begins again at step 0, with the statistics that it had measured.
        exclude: sub-corpora to leave out.
        progress: show a progress line.
        previous: a run folder that stands for the stage before this one, instead of training it.

    Raises:
        CheckpointError: `out` holds a run already, there is no run to resume, or recipe or corpus are others now.
        CorpusError: the corpus can't be opened, or is empty.
        ConfigError: settings contradict each other.
        TrainingError: training can't go on (see `training.loop.train`).
        KeyboardInterrupt: it was stopped by Ctrl-C; a checkpoint was written before.
    """
    ranks = Ranks.start(recipe.train.device)
    show = progress and ranks.main
    begun = None
    if resume and ((Path(out) / "recipe.json").exists() or not (Path(out) / STAGE).is_dir()):
        begun = RunFolder.open(out, writes=ranks.main)
    elif ranks.main:
        RunFolder.check_new(Path(out))
    corpus = _open(data, exclude, ranks)
    if begun is not None:
        check_corpus(begun, corpus)
    _check_early(recipe, corpus, previous)
    if begun is not None and begun.checkpoints:
        recipe = as_begun(recipe, begun)
    else:
        if previous is None and recipe.previous is not None:
            if show and Path(out).name != STAGE:
                _tell_stages(recipe, Path(out))
            previous = _train_stage(recipe.previous, corpus, Path(out) / STAGE, progress, ranks)
        if previous is not None:
            recipe = handed_on(recipe, previous)
    if show and (recipe.previous is not None or Path(out).name == STAGE):
        _say(f"{recipe.name}, in {out}")
    recipe = _resolve(recipe, corpus, begun, ranks, progress)
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
    check_fit(recipe, frontend, encoder)
    noted: list[str] = []
    if objective.columns:
        objective.take_columns(columns_of(corpus, objective.columns, noted.append))
    if begun is not None:
        begun.check_recipe(recipe.to_json())
        run = begun
    else:
        run = RunFolder.create(out, recipe.to_json(), writes=ranks.main)
    # Each file on its own: a run may have been killed between any two of them.
    if ranks.main and not (run.path / "corpus.json").exists():
        run.write("corpus.json", describe_corpus(corpus, exclude, {}))
    if ranks.main and not (run.path / RECORDINGS).exists():
        write_recordings(run, corpus)
    note_session(run, recipe, ranks)
    for line in noted:
        run.log(line)
    ending = train(
        run=run,
        loader=loader,
        augment=recipe.augment.build(frontend),
        encoder=encoder,
        objective=objective,
        config=recipe.train,
        resume=begun is not None,
        progress=progress,
        ranks=ranks,
        warnings=_padding_warnings(corpus, recipe, loader),
        prepare=preparing(recipe, corpus, frontend, encoder, objective, previous),
    )
    broken = {file: why for part in ranks.gather(dict(loader.broken)) for file, why in part.items()}
    run.write("corpus.json", describe_corpus(corpus, exclude, broken))
    if ending == "interrupted":
        raise KeyboardInterrupt
    return run.path


def _check_early(recipe: Recipe, corpus: Corpus, previous: str | Path | None) -> None:
    """Refuse what can't work before statistics are measured and stages trained."""
    frontend, encoder, objective = build(recipe, recipe.train.seed)
    check_fit(recipe, frontend, encoder)
    if objective.columns:
        objective.take_columns(columns_of(corpus, objective.columns))
    if previous is not None and recipe.previous is None and recipe.begin == "fresh" and not stages_in(recipe.objective):
        raise ConfigError(f"recipe {recipe.name} has no stage before it; leave --previous ({previous}) out")


def _tell_stages(recipe: Recipe, out: Path) -> None:
    """Say on the screen which stages will be trained, the first of them first."""
    names = [recipe.name]
    while recipe.previous is not None:
        recipe = recipe.previous
        names.append(recipe.name)
    _say(
        f"{len(names)} stages: {', then '.join(reversed(names))}. Each has the steps and minutes that are set. Those "
        f"before the last lie in {out / STAGE} and are kept; another run takes them with --previous."
    )


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def _train_stage(recipe: Recipe, corpus: Corpus, out: Path, progress: bool, ranks: Ranks) -> Path:
    """Train the stage before (or go on with it), and return its run folder; a finished one is taken as it is."""
    done = out / "stage.json"
    # Rank 0 looks: another rank may see what rank 0 has begun to write.
    finished, begun = ranks.share((done.exists(), (out / "recipe.json").exists() and not RunFolder.idle(out)))
    if not finished:
        pretrain(recipe, corpus, out, resume=begun, progress=progress)
        if ranks.main:
            run = RunFolder.open(out)
            step = max(run.checkpoints, default=0)
            if step < recipe.train.steps:
                run.log(
                    f"stopped by train.minutes at step {step} of {recipe.train.steps}; the next stage builds on that"
                )
            write_json(done, {"finished": True, "step": step, "recipe": recipe.fingerprint()})
        ranks.wait()
        return out
    kept = RunFolder.open(out, writes=False).read("stage.json")
    if kept.get("recipe") != recipe.fingerprint():
        raise CheckpointError(
            f"{out} holds the stage before this one, trained by other settings than the recipe's now; give another "
            "--out, or the run that is meant by --previous"
        )
    return out


def _open(data: str | Path | Corpus, exclude: Sequence[str], ranks: Ranks) -> Corpus:
    if isinstance(data, Corpus):
        if exclude:
            raise ConfigError("exclude needs a path to open; leave clips out of a Corpus by its filter")
        return data
    # Rank 0 first: what opening a corpus prepares (a rendered or downloaded one) is then there for the others.
    corpus = open_corpus(data, exclude=tuple(exclude)) if ranks.main else None
    ranks.wait()
    return corpus if corpus is not None else open_corpus(data, exclude=tuple(exclude))


def _resolve(recipe: Recipe, corpus: Corpus, begun: RunFolder | None, ranks: Ranks, progress: bool) -> Recipe:
    """Put the corpus's statistics into the front end: measured, or those that the run began with."""
    if not (recipe.measure_statistics and recipe.frontend.uses_statistics):
        return recipe
    if begun is not None:
        began = Recipe.from_json(begun.recipe)
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
