"""Pre-training: from a recipe and a corpus to a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from auricle.corpus.ledger import beside
from auricle.corpus.loader import Loader
from auricle.corpus.reading import band_notes, read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.corpus.windows import padding_warning
from auricle.errors import CheckpointError, ConfigError, Terminated
from auricle.recipes.building import build, check_batch, check_fit, check_ranks, resolve
from auricle.recipes.columns import read_columns
from auricle.recipes.environment import note_session
from auricle.recipes.loading import load_recipe, parse_recipe
from auricle.recipes.recipe import Recipe, previous_encoders
from auricle.recipes.recordings import RECORDINGS, check_corpus, opening_notes, write_ledger, write_recordings
from auricle.recipes.request import Request, read_request, requested
from auricle.recipes.stages import as_begun, check_begin, on_previous, preparing
from auricle.training.budget import refuse_longer
from auricle.training.checkpoint import find_checkpoints, read_state
from auricle.training.lock import RunLock, refuse_in_use
from auricle.training.loop import train
from auricle.training.progress import check_tensorboard
from auricle.training.randomness import derive_seed
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.run_record import STAGE, resume_command
from auricle.training.saving import check_free, space_needed
from auricle.training.signals import Ending


def pretrain(
    recipe: Recipe,
    data: str | Path | Corpus,
    out: str | Path,
    *,
    resume: bool = False,
    exclude: Sequence[str] = (),
    channel: str | int | None = None,
    time_expansion: float | None = None,
    progress: bool = True,
    previous: str | Path | None = None,
) -> Path:
    """Pre-train an encoder on a corpus and return its run folder.

    The previous stages of a recipe are trained first, in the folder `previous` of `out`, `previous/previous` ...

    The folder receives `run.json` (what was asked for), `recipe.json` (resolved: with the measured statistics),
    `corpus.json`, `recordings.parquet` (see `recordings.recording_ids`), `environment.json`, metrics, events and
    checkpoints: everything needed to repeat and to continue the run.

    Args:
        recipe: method and settings.
        data: a corpus, or anything that `open_corpus` takes.
        out: the run folder; it must not hold a run that made a step, unless `resume`. Finished stages in it are used.
        resume: continue from the latest checkpoint in `out`, with the same recipe and corpus; a run that was killed
            before its first checkpoint begins again at step 0, with the statistics that it had measured. Where there is
            no run yet, it starts, and a finished one is left as it is. `resume(out)` needs nothing else.
        exclude: sub-corpora to exclude.
        channel: channel that is read, see `auricle.corpus.reading.read_as`.
        time_expansion: how many times slower recordings are played, see there.
        progress: show a progress line.
        previous: run folder to use as the previous stage, instead of training one.

    Raises:
        CheckpointError: `out` holds a run already, recipe or corpus have changed, or another process trains it.
        CorpusError: the corpus can't be opened, or is empty.
        ConfigError: settings contradict each other.
        TrainingError: training can't continue (see `training.loop.train`).
        KeyboardInterrupt: stopped by Ctrl-C (`errors.Terminated`: by SIGTERM), after writing a checkpoint.

    Examples:
        >>> import auricle
        >>> run = auricle.pretrain(auricle.get_recipe("cola"), "recordings", "runs/mine")  # doctest: +SKIP
    """
    ranks, out = Ranks.start(recipe.train.device), Path(out)
    show = progress and ranks.main
    request = Request.of(recipe, data, tuple(exclude), previous, channel, time_expansion)
    begun = _begun(request, out, resume, ranks)
    # Every rank has looked before rank 0 writes.
    ranks.wait()
    request, kept_features = (request, []) if begun is None else request.as_read(begun)
    recipe = request.recipe
    for line in kept_features if show else ():
        _say(line)
    if begun is not None and begun.finished():
        kept = read_request(out)
        if kept is None or kept.data != request.data:
            check_corpus(begun, read_as(_open(data, exclude, ranks), channel, time_expansion))
        refuse_longer(out, begun.plan, begun.fitted, recipe.train)
        return _already_done(begun, show)
    if resume and begun is None and show:
        _say(f"{out} holds no step yet: the run starts at step 0")
    skipped = recipe.augment.check_folders()
    corpus = read_as(_open(data, exclude, ranks), channel, time_expansion)
    if begun is not None:
        check_corpus(begun, corpus)
        check_ranks(begun, ranks)
    _check_early(recipe, corpus, previous, out, ranks)
    noted = [*skipped, *opening_notes(corpus)]
    for line in noted if show and out.name != STAGE else ():
        _say(line)
    noted += kept_features
    with RunLock(out) if ranks.main else nullcontext() as lock:
        # Another process may have trained here since.
        begun = _begun(request, out, resume, ranks, own=True)
        if ranks.main:
            request.write(out, begun)
        try:
            ending = _train(request, corpus, noted, out, begun, lock, progress, ranks)
        except KeyboardInterrupt as stop:
            # Where a checkpoint was written, the loop said so.
            if show and not stop.args and out.name != STAGE:
                _say(f"stopped before a step was made; continue with: {resume_command(out)}")
            raise
    if ending in ("interrupted", "terminated"):
        raise (Terminated if ending == "terminated" else KeyboardInterrupt)("saved")
    return out


def resume(out: str | Path, *, data: str | Path | None = None, progress: bool = True) -> Path:
    """Continue a run, which knows its recipe and data; return its folder. A finished one is left as it is.

    Args:
        out: the run folder.
        data: where the data lie now, if they were moved; None: where they lay.
        progress: show a progress line.

    Raises:
        CheckpointError: there is no run, it is damaged, another process trains it, or the data have changed.
        CorpusError: the corpus can't be opened.
        TrainingError: training can't continue (see `training.loop.train`).
        KeyboardInterrupt: stopped by Ctrl-C, after writing a checkpoint.

    Examples:
        >>> import auricle
        >>> run = auricle.resume("runs/mine")  # doctest: +SKIP
    """
    found = requested(out, data)
    return pretrain(
        found.recipe, str(found.data), out, resume=True, exclude=found.exclude, progress=progress,
        previous=found.previous, channel=found.channel, time_expansion=found.time_expansion,
    )  # fmt: skip


def _begun(request: Request, out: Path, resume: bool, ranks: Ranks, own: bool = False) -> RunFolder | None:
    """Return the run to continue, or None for a new one; refuse folders that another run uses.

    Args:
        request: what is asked for now.
        out: the run folder.
        resume: whether a run there may be continued.
        ranks: the processes that train together.
        own: whether this process holds the folder.
    """
    if ranks.main and not own:
        refuse_in_use(out)
    kept = read_request(out) if resume else None  # None for a run that auricle 0.2 began, too
    if kept is not None:
        kept.check(request, out)
    begun = RunFolder.begun(out, writes=ranks.main) if resume else None
    if begun is None and ranks.main:
        RunFolder.check_new(out)
    return begun


def _already_done(run: RunFolder, show: bool) -> Path:
    """Leave a finished run as it is, but for lines of its journal that are damaged."""
    step = max(run.checkpoints)
    with RunLock(run.path) if run.writes else nullcontext():
        faults = run.rewind(step, read_state(run.checkpoint())["progress"].get("lines"))
    for line in faults:
        run.log(line)
    if show:
        for line in (*faults, f"{run.path} is complete: all its {step} steps are done, and nothing is left to do"):
            _say(line)
    return run.path


def _train(
    request: Request,
    corpus: Corpus,
    noted: list[str],
    out: Path,
    begun: RunFolder | None,
    lock: RunLock | None,
    progress: bool,
    ranks: Ranks,
) -> Ending:
    """Train a run and its previous stages, in a folder that this process holds."""
    recipe, show = request.recipe, progress and ranks.main
    previous: str | Path | None = request.previous
    if begun is not None and begun.checkpoints:
        recipe = as_begun(recipe, begun)
    else:
        if previous is None and recipe.previous is not None:
            if show and out.name != STAGE:
                _announce_stages(recipe, out)
            previous = _train_stage(recipe.previous, corpus, out / STAGE, progress, ranks)
        if previous is not None:
            recipe = on_previous(recipe, previous)
    if show and (recipe.previous is not None or out.name == STAGE):
        _say(f"{recipe.name}, in {out}")
    recipe = resolve(recipe, corpus, begun, ranks, progress)
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
    recipe = recipe.replace(loader=loader.config)
    check_fit(recipe, frontend, encoder)
    if objective.columns:
        objective.take_columns(read_columns(corpus, objective.columns, noted.append))
    if begun is not None:
        # As this version writes it: settings that are new since then have their defaults.
        begun.check_recipe(recipe.to_json(), parse_recipe(begun.recipe, out).to_json())
        run = begun
    else:
        run = RunFolder.create(out, recipe.to_json(), writes=ranks.main)
    run.lock = lock
    # Each file is checked by itself: a run may have been killed between any two of them.
    if ranks.main and not (run.path / "corpus.json").exists():
        write_ledger(run, corpus, request.exclude)
        if show and out.name != STAGE and corpus.ledger.skipped("recording"):
            _say(f"skipped recordings are listed, with the reason, in {beside(run.path)}")
    if ranks.main and not run.has(RECORDINGS):
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
        warnings=[
            *([] if padding is None else [padding]),
            *loader.warnings(),
            *band_notes(corpus, frontend.rate),
        ],
        prepare=preparing(recipe, corpus, frontend, encoder, objective, previous),
    )
    broken, lost, silent = ranks.gather(dict(loader.broken)), ranks.gather(loader.lost), ranks.gather(loader.silent)
    write_ledger(run, corpus, request.exclude, broken, lost, silent, _say if progress and ranks.main else None)
    return ending


def _check_early(recipe: Recipe, corpus: Corpus, previous: str | Path | None, out: Path, ranks: Ranks) -> None:
    """Refuse what can't work, in any stage, before statistics are measured and stages trained."""
    if recipe.train.tensorboard:
        check_tensorboard()
    needed, folder, stage = 0, out, recipe
    while True:
        frontend, encoder, objective = build(stage, stage.train.seed)
        check_fit(stage, frontend, encoder)
        found = stage.previous if previous is None else previous
        if stage.begin == "previous" and found is not None and not find_checkpoints(folder / "checkpoints"):
            check_begin(stage, encoder, found if isinstance(found, Recipe) else load_recipe(found))
        check_batch(stage, objective, Loader(corpus, stage.window, stage.loader, rate=frontend.rate, world=ranks.world))
        if objective.columns:
            objective.take_columns(read_columns(corpus, objective.columns))
        needed += space_needed(encoder, objective, stage.train, len(find_checkpoints(folder / "checkpoints")))
        if previous is not None or stage.previous is None:
            break
        folder, stage = folder / STAGE, stage.previous
    if ranks.main:
        check_free(out, needed)
    if previous is None and stage.begin == "previous":
        raise ConfigError(
            f"{stage.name} begins with the weights of a previous stage and there is none; set --previous to its run "
            "folder, or --begin fresh"
        )
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
    # Only rank 0 checks: another rank may see a file that rank 0 is still writing.
    begun = ranks.share((out / "recipe.json").exists() and not RunFolder.idle(out))
    if begun:
        kept = read_request(out)
        if kept is not None and kept.recipe.fingerprint() != recipe.fingerprint():
            try:
                kept.check(Request(recipe), out)
            except CheckpointError as error:
                raise CheckpointError(
                    f"{out} holds a previous stage that was trained by other settings than the recipe's now ({error}); "
                    "expected the same. Set another --out, or name the run to use by --previous"
                ) from error
    pretrain(recipe, corpus, out, resume=begun, progress=progress)
    if ranks.main:
        run = RunFolder.open(out)
        step = max(run.checkpoints)
        if read_state(run.checkpoint())["progress"].get("over"):
            run.log(f"stopped by train.minutes at step {step}; the next stage builds on that")
    ranks.wait()
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
