"""The verb `predict`: a table of what a fitted model finds in recordings."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from auricle.answers.prediction_table import FOLDERS, check_table_ending
from auricle.answers.prediction_work import PredictedCorpus, PredictionWork, scored_bytes
from auricle.corpus.reading import read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.stretches import Stretch
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError
from auricle.extras import require
from auricle.models.opening import Model, load
from auricle.models.scoring import PredictConfig, Predictor
from auricle.tokens.embeddings import check_writable
from auricle.training.lock import RunLock
from auricle.words import counted


def predict(
    model: str | Path | Model,
    data: str | Path | Corpus,
    out: str | Path,
    *,
    segment: float | None = None,
    hop: float | None = None,
    threshold: float | None = None,
    top: int | None = None,
    merge: float | None = None,
    shortest: float | None = None,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    batch: int = 16,
    shard: str | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    trust_remote_code: bool = False,
    progress: bool = True,
) -> PredictedCorpus:
    """Apply a fitted model to recordings of any length and write a table of what it finds.

    Recordings are decoded once, in constant memory. What is done is kept beside the table until it is written: a killed
    call is continued with `resume`, and ends in the same bytes. Damaged stretches are listed with their times, the rest
    goes on.

    Args:
        model: a model, or what `load` opens: one with a head (`auricle fit`, `auricle finetune`).
        data: a corpus, or what `open_corpus` opens.
        out: `.csv`, `.parquet`, `.jsonl`, or a folder `.raven` or `.audacity`; see
            `auricle.answers.prediction_table.write_predictions`.
        segment: see `auricle.models.scoring.PredictConfig`, like the next five.
        hop: see there.
        threshold: see there.
        top: see there.
        merge: see there.
        shortest: see there.
        channel: channel that is read, see `auricle.corpus.reading.read_as`.
        time_expansion: how many times slower recordings are played, see there.
        batch: windows encoded at once, at most.
        shard: `2/4`: do the second of four shares of the work; the process that ends last writes the table. None: all,
            or the share of this process where `torchrun` started several.
        engine: `ray`: on the workers of a Ray cluster (of this machine where none is connected to).
        workers: with `ray`, how many; None: one for each processor.
        resume: continue a killed call with the same arguments; start where there is none.
        overwrite: replace `out`, whatever it holds; else only the same predictions may be there.
        device: see `load`; ignored for a `Model`, like the next two.
        precision: see `load`.
        trust_remote_code: see `load`.
        progress: show a progress bar with an estimate.

    Raises:
        CheckpointError: there is no such model, or another process does this work.
        CorpusError: there is no such data, or nothing could be predicted.
        ConfigError: the model has no head, a setting is out of range or does not fit the head, or `out` has no format.
        StorageError: `out` can't be written, holds anything else, or unfinished work is there and `resume` is not set.
        MissingExtraError: Ray is not installed.

    Examples:
        >>> import auricle
        >>> auricle.predict("models/owl", "recordings", "hits.csv", segment=5, hop=2.5)  # doctest: +SKIP
    """
    out = Path(out)
    ending = check_table_ending(out)
    share = _share(shard)
    if engine == "ray":
        require("ray.data", extra="ray")
    elif workers is not None:
        raise ConfigError("workers is for the engine ray; set --engine ray, or leave --workers out")
    config = PredictConfig(segment, hop, threshold, top, merge, shortest, batch)
    corpus = read_as(data if isinstance(data, Corpus) else open_corpus(data), channel, time_expansion)
    opening = {"device": device, "precision": precision, "trust_remote_code": trust_remote_code}
    opened = model if isinstance(model, Model) else _on_own_gpu(load(model, **opening))  # type: ignore[arg-type]
    predictor = Predictor(opened, config)
    # A folder is written beside its place, too.
    check_writable(out.with_name(f"{out.name}.table") if ending in FOLDERS else out)
    source = model if isinstance(model, Model) else (str(model), opening)
    todo = PredictionWork(out, corpus, predictor, share, resume=resume, overwrite=overwrite)
    if todo.made is None:
        with RunLock(todo.work.folder / f"shard-{share[0]}-of-{share[1]}", f"work on {out.name} by another process"):
            try:
                missing = {k: todo.units[k] for k in todo.missing()}
                if engine == "ray":
                    todo.do(_by_ray(source, corpus, config, missing, workers), progress)
                else:
                    todo.do(((k, scored_bytes(predictor.score(corpus, unit))) for k, unit in missing.items()), progress)
                left = len(todo.units) - len(todo.work.files())
                if left:
                    note = f"{counted(left, 'unit')} of {len(todo.units)} left to other shards; the last writes {out}"
                    return PredictedCorpus(out, None, corpus.ledger, {}, (*corpus.notes, note))
                with RunLock(todo.work.folder / "table", f"a table of {out.name} that another shard is writing"):
                    todo.write()
            finally:
                # While the lock is held: without it the folder may be another process's.
                if not todo.work.files():
                    shutil.rmtree(todo.work.folder, ignore_errors=True)
    return todo.result()


def _share(shard: str | None) -> tuple[int, int]:
    """Return which share of how many this process does."""
    if shard is None:
        return int(os.environ.get("RANK", "0")) + 1, int(os.environ.get("WORLD_SIZE", "1"))
    first, slash, count = shard.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise ConfigError(f"shard is {shard!r}; expected for example 2/4, the second of four")
    return int(first), int(count)


def _on_own_gpu(model: Model) -> Model:
    """Move a model to the GPU of this process where `torchrun` started several."""
    if model.reader.device.type == "cuda":
        model.reader.to(torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))))
    return model


class _RayWorker:
    """Predicts units on a worker of a Ray cluster."""

    def __init__(self, source: Model | tuple[str, dict[str, Any]], corpus: Corpus, config: PredictConfig) -> None:
        torch.set_num_threads(1)
        model = source if isinstance(source, Model) else load(source[0], **source[1])
        self._predictor, self._corpus = Predictor(model, config), corpus

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        unit = [Stretch(clip, first, None if count < 0 else count) for clip, first, count in row["parts"]]
        return {"place": row["place"], "content": scored_bytes(self._predictor.score(self._corpus, unit))}


def _by_ray(
    source: Model | tuple[str, dict[str, Any]],
    corpus: Corpus,
    config: PredictConfig,
    units: Mapping[int, Sequence[Stretch]],
    workers: int | None,
) -> Iterator[tuple[int, bytes]]:
    """Yield units as the workers of a cluster get them done."""
    if not units:
        return
    ray, data = require("ray", extra="ray"), require("ray.data", extra="ray")
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    gpus = 1 if torch.cuda.is_available() and ray.cluster_resources().get("GPU") else 0
    rows = [
        {"place": k, "parts": [[part.row, part.first, -1 if part.count is None else part.count] for part in unit]}
        for k, unit in units.items()
    ]
    todo = data.from_items(rows, override_num_blocks=len(rows))
    done = todo.map(
        _RayWorker, fn_constructor_args=(source, corpus, config), concurrency=min(count, len(units)), num_gpus=gpus
    )
    for row in done.iter_rows():
        yield int(row["place"]), bytes(row["content"])
