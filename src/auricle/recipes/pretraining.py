"""Pre-training: from a recipe and a corpus to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from auricle.corpus.loader import Loader
from auricle.corpus.readers.label_table import read_csv
from auricle.corpus.readers.side_tables import CAPTIONS, read_captions
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.table import Corpus
from auricle.corpus.windows import padding_warning
from auricle.errors import CheckpointError, ConfigError
from auricle.recipes.building import build, check_fit
from auricle.recipes.environment import note_session
from auricle.recipes.recipe import Recipe, previous_encoders
from auricle.recipes.recordings import RECORDINGS, check_corpus, describe_corpus, write_recordings
from auricle.recipes.stages import as_begun, on_previous, preparing
from auricle.storage import write_json
from auricle.training.loop import train
from auricle.training.randomness import derive_seed
from auricle.training.ranks import Ranks
from auricle.training.run_folder import STAGE, RunFolder
from auricle.training.threads import step_threads, threads


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

    The previous stages of a recipe are trained first, in the folder `previous` of `out`, `previous/previous` ...

    The folder receives `recipe.json` (resolved: with the measured statistics), `corpus.json`, `recordings.parquet` (see
    `recordings.recording_ids`), `environment.json`, metrics, events and checkpoints: everything needed to repeat the
    run.

    Args:
        recipe: method and settings.
        data: a corpus, or anything that `open_corpus` takes.
        out: the run folder; it must not hold a run that made a step, unless `resume`. Finished stages in it are used.
        resume: continue from the latest checkpoint in `out`, with the same recipe and corpus; a run that was killed
            before its first checkpoint begins again at step 0, with the statistics that it had measured.
        exclude: sub-corpora to exclude.
        progress: show a progress line.
        previous: run folder to use as the previous stage, instead of training one.

    Raises:
        CheckpointError: `out` holds a run already, there is no run to resume, or recipe or corpus have changed.
        CorpusError: the corpus can't be opened, or is empty.
        ConfigError: settings contradict each other.
        TrainingError: training can't continue (see `training.loop.train`).
        KeyboardInterrupt: stopped by Ctrl-C, after writing a checkpoint.

    Examples:
        >>> import auricle
        >>> run = auricle.pretrain(auricle.get_recipe("cola"), "recordings", "runs/mine")  # doctest: +SKIP
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
                _announce_stages(recipe, Path(out))
            previous = _train_stage(recipe.previous, corpus, Path(out) / STAGE, progress, ranks)
        if previous is not None:
            recipe = on_previous(recipe, previous)
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
        objective.take_columns(read_columns(corpus, objective.columns, noted.append))
    if begun is not None:
        begun.check_recipe(recipe.to_json())
        run = begun
    else:
        run = RunFolder.create(out, recipe.to_json(), writes=ranks.main)
    # Each file is checked by itself: a run may have been killed between any two of them.
    if ranks.main and not (run.path / "corpus.json").exists():
        run.write("corpus.json", describe_corpus(corpus, exclude, {}))
    if ranks.main and not (run.path / RECORDINGS).exists():
        write_recordings(run, corpus)
    note_session(run, recipe, ranks)
    for line in noted:
        run.log(line)
    # The share of padding takes length buckets into account.
    padding = padding_warning(corpus, recipe.window, share=loader.padding())
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
        warnings=[] if padding is None else [padding],
        prepare=preparing(recipe, corpus, frontend, encoder, objective, previous),
    )
    broken = {file: why for part in ranks.gather(dict(loader.broken)) for file, why in part.items()}
    run.write("corpus.json", describe_corpus(corpus, exclude, broken))
    if ending == "interrupted":
        raise KeyboardInterrupt
    return run.path


def read_columns(
    corpus: Corpus, names: Sequence[str], note: Callable[[str], None] = lambda line: None
) -> Mapping[str, Sequence[object]]:
    """Return the columns that an objective reads besides the audio, one value per clip.

    A column that the corpus lacks is read from the table `captions.csv` in its folder, where there is one: `caption`
    stands for all caption columns of that table (see `read_captions`), another name for the column of that name. The
    column `file` comes with them, so that an error about a value can name the clip.

    Args:
        corpus: the clips.
        names: the columns.
        note: receives a line about the source of a column.

    Raises:
        ConfigError: there is no such column; those that exist are named.
        CorpusError: the table of captions can't be read, or has none for these clips.
    """
    asked = dict.fromkeys((*names, "file"))
    return {name: corpus.column(name) if name in corpus.columns else _captions(corpus, name, note) for name in asked}


def _captions(corpus: Corpus, name: str, note: Callable[[str], None]) -> list[object]:
    path = corpus.root / CAPTIONS
    there = [column for column in read_csv(path) if column != "file"] if path.is_file() else []
    chosen = [c for c in there if c.startswith("caption") or c.endswith("caption")] if name == "caption" else [name]
    if not chosen or not set(chosen) <= set(there):
        table = f", its {CAPTIONS} has {', '.join(there)}" if there else f", and there is no {CAPTIONS} in its folder"
        raise ConfigError(
            f"the objective reads the column {name!r} and the corpus {corpus.name} has none (it has "
            f"{', '.join(sorted(corpus.columns))}{table}); set --data to a table with that column, or name the column "
            "that holds it: --objective.columns NAME"
        )
    captions = read_captions(path, corpus, chosen)
    texts: list[list[str]] = [[] for _ in range(len(corpus))]
    for row, text in zip(captions.rows.tolist(), captions.texts, strict=True):
        texts[row].append(text)
    note(f"column {name!r} was read from {CAPTIONS} ({', '.join(chosen)})" + "".join(f"; {n}" for n in captions.notes))
    return list(texts)


def _check_early(recipe: Recipe, corpus: Corpus, previous: str | Path | None) -> None:
    """Refuse parts that don't fit before statistics are measured and stages trained."""
    frontend, encoder, objective = build(recipe, recipe.train.seed)
    check_fit(recipe, frontend, encoder)
    if objective.columns:
        objective.take_columns(read_columns(corpus, objective.columns))
    if (
        previous is not None
        and recipe.previous is None
        and recipe.begin == "fresh"
        and not previous_encoders(recipe.objective)
    ):
        raise ConfigError(f"recipe {recipe.name} has no previous stage; run it without --previous ({previous})")


def _announce_stages(recipe: Recipe, out: Path) -> None:
    """Print the stages that will be trained, the first of them first."""
    names = [recipe.name]
    while recipe.previous is not None:
        recipe = recipe.previous
        names.append(recipe.name)
    _say(
        f"{len(names)} stages: {', then '.join(reversed(names))}. Each has the steps and minutes that are set. All but "
        f"the last are kept in {out / STAGE}; another run uses them with --previous."
    )


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def _train_stage(recipe: Recipe, corpus: Corpus, out: Path, progress: bool, ranks: Ranks) -> Path:
    """Train the previous stage (or continue it), and return its run folder; a finished one is used as it is."""
    done = out / "stage.json"
    # Only rank 0 checks: another rank may see a file that rank 0 is still writing.
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
            f"{out} holds a previous stage that was trained by other settings than the recipe's now; set another "
            "--out, or name the run to use by --previous"
        )
    return out


def _open(data: str | Path | Corpus, exclude: Sequence[str], ranks: Ranks) -> Corpus:
    if isinstance(data, Corpus):
        if exclude:
            raise ConfigError("exclude needs a path to open; exclude clips of a Corpus by its filter")
        return data
    # Rank 0 first: it renders or downloads the corpus where needed, and the others find the files.
    corpus = open_corpus(data, exclude=tuple(exclude)) if ranks.main else None
    ranks.wait()
    return corpus if corpus is not None else open_corpus(data, exclude=tuple(exclude))


def _resolve(recipe: Recipe, corpus: Corpus, begun: RunFolder | None, ranks: Ranks, progress: bool) -> Recipe:
    """Return the recipe with the corpus's statistics in its front end: measured, or those that the run began with."""
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
