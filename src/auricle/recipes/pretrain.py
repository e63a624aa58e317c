"""From a recipe and a corpus to a run folder."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontend import FrontEnd
from auricle.audio.views import PlainViewsConfig
from auricle.config import Config
from auricle.corpus.loader import Loader
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.stores import Place, Store
from auricle.corpus.table import Corpus
from auricle.corpus.windows import padding_warning
from auricle.encoders.contract import Encoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, CheckpointError, ConfigError
from auricle.objectives.contract import Objective, Preparation, View
from auricle.objectives.earlier_encoder import EarlierEncoderConfig
from auricle.objectives.teacher import MovingAverage
from auricle.recipes.recipe import Recipe, get_recipe, recipes
from auricle.training.atomic_write import write_atomic, write_json
from auricle.training.checkpoint import load_tensors
from auricle.training.loop import train
from auricle.training.randomness import derive_seed
from auricle.training.ranks import Ranks
from auricle.training.run_folder import STAGE, RunFolder
from auricle.training.threads import step_threads, threads

# Above this share of padding an encoder learns where the padding begins before it learns anything else.
MOSTLY = 0.5
RECORDINGS = "recordings.parquet"
# Clips that a stage before the first step takes at once.
PREPARED_AT_ONCE = 32
# Bytes that identify a recording, at its begin, middle and end: beyond the headers and tags, which may be alike.
PIECE = 1 << 14


def pretrain(
    recipe: Recipe,
    data: str | Path | Corpus,
    out: str | Path,
    *,
    resume: bool = False,
    exclude: Sequence[str] = (),
    progress: bool = True,
    earlier: str | Path | None = None,
) -> Path:
    """Pre-train an encoder on a corpus and return its run folder.

    A recipe of several stages trains the stages before it first, in the folder `before` of `out`, `before/before` ...

    The folder gets `recipe.json` (resolved: with the statistics that were measured), `corpus.json`,
    `recordings.parquet` (see `recording_ids`), `environment.json`, metrics, events and checkpoints: everything needed
    to repeat the run.

    Args:
        recipe: what to do.
        data: a corpus, or anything that `open_corpus` takes.
        out: the run folder; it must not hold a run, unless `resume`.
        resume: go on from the latest checkpoint in `out`, with the same recipe and corpus; a run that was killed before
            its first checkpoint begins again at step 0, with the statistics that it had measured.
        exclude: sub-corpora to leave out.
        progress: show a progress line.
        earlier: a run folder that stands for the stage before this one, instead of training it.

    Raises:
        CheckpointError: `out` holds a run already, there is no run to resume, or recipe or corpus are others now.
        CorpusError: the corpus can't be opened, or is empty.
        ConfigError: settings contradict each other.
        TrainingError: training can't go on (see `training.loop.train`).
        KeyboardInterrupt: it was stopped by Ctrl-C; a checkpoint was written before.
    """
    ranks = Ranks.start(recipe.train.device)
    begun = None
    if resume and ((Path(out) / "recipe.json").exists() or not (Path(out) / STAGE).is_dir()):
        begun = RunFolder.open(out, writes=ranks.main)
    elif ranks.main:
        RunFolder.check_new(Path(out))
    corpus = _open(data, exclude, ranks)
    if begun is not None:
        _check_corpus(begun, corpus)
    _check_early(recipe, corpus, earlier)
    if begun is not None and begun.checkpoints:
        recipe = _as_begun(recipe, begun)
    else:
        if earlier is None and recipe.before is not None:
            earlier = _train_stage(recipe.before, corpus, Path(out) / STAGE, progress, ranks)
        if earlier is not None:
            recipe = _handed_on(recipe, earlier)
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
    _check_fit(recipe, frontend, encoder)
    if objective.columns:
        objective.take_columns(_columns(corpus, objective.columns))
    if begun is not None:
        begun.check_recipe(recipe.to_json())
        run = begun
    else:
        run = RunFolder.create(out, recipe.to_json(), writes=ranks.main)
    # Each file on its own: a run may have been killed between any two of them.
    if ranks.main and not (run.path / "corpus.json").exists():
        run.write("corpus.json", _describe_corpus(corpus, exclude, {}))
    if ranks.main and not (run.path / RECORDINGS).exists():
        _write_recordings(run, corpus)
    _note_session(run, recipe, ranks)
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
        prepare=_preparing(recipe, corpus, frontend, encoder, objective, earlier),
    )
    broken = {file: why for part in ranks.gather(dict(loader.broken)) for file, why in part.items()}
    run.write("corpus.json", _describe_corpus(corpus, exclude, broken))
    if ending == "interrupted":
        raise KeyboardInterrupt
    return run.path


def build(recipe: Recipe, seed: int) -> tuple[FrontEnd, Encoder, Objective]:
    """Build a recipe's front end, encoder and objective, their weights drawn from the seed."""
    frontend, encoder = build_encoder(recipe, seed)
    return frontend, encoder, recipe.objective.build(encoder, generator(seed, "objective"))


def build_encoder(recipe: Recipe, seed: int) -> tuple[FrontEnd, Encoder]:
    """Build a recipe's front end and encoder as `build` does, without the objective and whatever only that needs."""
    return recipe.frontend.build(), recipe.encoder.build(generator(seed, "encoder"))


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return the generator that initial weights are drawn from."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose))


def _check_early(recipe: Recipe, corpus: Corpus, earlier: str | Path | None) -> None:
    """Refuse what can't work before statistics are measured and stages trained."""
    frontend, encoder, objective = build(recipe, recipe.train.seed)
    _check_fit(recipe, frontend, encoder)
    if objective.columns:
        _columns(corpus, objective.columns)
    if earlier is not None and recipe.before is None and recipe.begin == "fresh" and not _stages_in(recipe.objective):
        raise ConfigError(f"recipe {recipe.name} has no stage before it; leave --earlier ({earlier}) out")


def _train_stage(recipe: Recipe, corpus: Corpus, out: Path, progress: bool, ranks: Ranks) -> Path:
    """Train the stage before (or go on with it), and return its run folder; a finished one is taken as it is."""
    done = out / "stage.json"
    # Rank 0 looks: another rank may see what rank 0 has begun to write.
    finished, begun = ranks.share((done.exists(), out.is_dir()))
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
            "--out, or the run that is meant by --earlier"
        )
    return out


def _handed_on(recipe: Recipe, earlier: str | Path) -> Recipe:
    """Tell the objective what kind of encoder the stage before trained, wherever it holds one."""
    from auricle.recipes.load import load_recipe

    trained = load_recipe(earlier)
    return recipe.replace(
        objective=_with_stages(recipe.objective, EarlierEncoderConfig(trained.encoder, trained.frontend))
    )


def _as_begun(recipe: Recipe, begun: RunFolder) -> Recipe:
    """Take the stages that an objective holds from the run that is resumed: they are in its checkpoint."""
    found = _stages_in(Recipe.from_json(begun.recipe).objective)
    return recipe.replace(objective=_with_stages(recipe.objective, found[0])) if found else recipe


def _stages_in(value: Any) -> list[EarlierEncoderConfig]:
    """Return the earlier encoders that settings hold."""
    if isinstance(value, EarlierEncoderConfig):
        return [value]
    if isinstance(value, tuple):
        return [found for part in value for found in _stages_in(part)]
    if isinstance(value, Config):
        return [found for f in fields(value) for found in _stages_in(getattr(value, f.name))]
    return []


def _with_stages(value: Any, found: EarlierEncoderConfig) -> Any:
    """Return settings in which every earlier encoder is this one."""
    if isinstance(value, EarlierEncoderConfig):
        return found
    if isinstance(value, tuple):
        return tuple(_with_stages(part, found) for part in value)
    if isinstance(value, Config):
        changed = {f.name: _with_stages(getattr(value, f.name), found) for f in fields(value)}
        return value.replace(**{k: v for k, v in changed.items() if v is not getattr(value, k)})
    return value


def _columns(corpus: Corpus, names: Sequence[str]) -> Mapping[str, Sequence[object]]:
    missing = [name for name in names if name not in corpus.columns]
    if missing:
        raise ConfigError(
            f"the objective reads the column {missing[0]!r} and the corpus {corpus.name} has none (it has "
            f"{', '.join(sorted(corpus.columns))}); give a table with that column as --data, or name the column that "
            "holds it: --objective.columns NAME"
        )
    return {name: corpus.column(name) for name in names}


def _preparing(
    recipe: Recipe,
    corpus: Corpus,
    frontend: FrontEnd,
    encoder: Encoder,
    objective: Objective,
    earlier: str | Path | None,
) -> Callable[[Callable[[str], None]], None] | None:
    """Return what has to be done before the first step, or None if nothing has."""
    if not objective.prepares and recipe.begin == "fresh":
        return None

    def prepare(note: Callable[[str], None]) -> None:
        # Here, because an encoder is loaded by what this module builds.
        from auricle.recipes.load import load

        frozen: FrozenEncoder | None = None if earlier is None else load(earlier)
        if recipe.begin == "earlier":
            if frozen is None:
                raise ConfigError(
                    f"{recipe.name} {recipe.size} goes on from an earlier stage's weights and there is none; give its "
                    "run folder (--earlier)"
                )
            load_tensors(encoder, frozen.encoder.state_dict(), f"the stage before ({earlier})")
            for module in objective.modules():
                # A slow copy was made of the fresh weights.
                if isinstance(module, MovingAverage) and module.copies(encoder):
                    module.follow(encoder, 0.0)
            note(f"began with the weights of {earlier}")
        if objective.prepares:
            plain = PlainViewsConfig().build(frontend)
            seed = derive_seed(recipe.train.seed, "prepare")

            # Small batches, whatever a training step takes, and long recordings by their length.
            batch = min(recipe.loader.batch, recipe.train.micro_batch or PREPARED_AT_ONCE, PREPARED_AT_ONCE)
            settings = recipe.loader.replace(
                batch=min(batch, len(corpus)), batch_seconds=None, drop_last=False, buckets=0
            )
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
            objective.prepare(encoder, Preparation(views, windows, frozen, torch.Generator().manual_seed(seed), note))

    return prepare


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


def _check_fit(recipe: Recipe, frontend: FrontEnd, encoder: Encoder) -> None:
    """Refuse a window or front end that does not fit the encoder before anything is written."""
    samples = recipe.window.samples(frontend.rate)
    encoder.eval()  # norms must not learn from silence
    with torch.no_grad():
        encoder.tokenize(frontend(Audio(torch.zeros(1, samples), torch.tensor([samples]), frontend.rate)))


def _check_corpus(run: RunFolder, corpus: Corpus) -> None:
    began = run.read("corpus.json")
    if began is None and not run.checkpoints:
        return  # killed before it was written: nothing was heard yet
    if not isinstance(began, dict):
        raise CheckpointError(
            f"{run.path} has checkpoints and no readable corpus.json, so what they were trained on is not known; copy "
            "the run folder again from its source, or start a new run in another --out"
        )
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


def recording_ids(corpus: Corpus) -> np.ndarray:
    """Identify the recordings of a corpus by their encoded bytes, whatever they are called and wherever they lie.

    Of each recording the size and three pieces (begin, middle, end: 16 KiB each) are hashed; nothing is decoded, and
    little is read. A recording in another encoding is another one here. One that can't be read has no identity.

    Returns:
        `(N,)` uint64, sorted, each once.
    """
    columns = [corpus.table.column(name).to_pylist() for name in ("_store", "_key", "_offset", "_size")]
    places = sorted(set(zip(*columns, strict=True)))
    found = {_recording_id(corpus.stores[store], Place(*place)) for store, *place in places}
    return np.array(sorted(each for each in found if each is not None), dtype=np.uint64)


def _recording_id(store: Store, place: Place) -> int | None:
    try:
        source = store.read(place)
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            size = file.seek(0, io.SEEK_END)
            digest = hashlib.sha256(str(size).encode())
            for begin in (0, (size - PIECE) // 2, size - PIECE):
                file.seek(max(0, begin))
                digest.update(file.read(PIECE))
    except (AudioError, OSError):
        return None
    return int.from_bytes(digest.digest()[:8], "little")


def _write_recordings(run: RunFolder, corpus: Corpus) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"recording": recording_ids(corpus)}), buffer)
    write_atomic(run.path / RECORDINGS, buffer.getvalue())


def read_recordings(run: Path) -> np.ndarray | None:
    """Return the identities (see `recording_ids`) of what a run was pre-trained on, or None if it does not hold them.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = run / RECORDINGS
    if not path.is_file():
        return None
    try:
        return np.asarray(pq.read_table(path).column("recording").to_numpy(), dtype=np.uint64)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy the run folder again from its source") from error


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
