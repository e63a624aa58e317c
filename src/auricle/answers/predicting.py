"""The verb `predict`: a table of what a fitted model finds in recordings."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from auricle.answers.prediction_table import FOLDERS, check_table_ending, write_predictions
from auricle.corpus.ledger import Ledger, beside
from auricle.corpus.reading import band_notes, read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.stretches import Stretch
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError, Reason
from auricle.extras import require
from auricle.models.opening import Model, load
from auricle.models.prediction_rows import prediction_tables, table_schema, with_lost_windows
from auricle.models.scoring import Loss, PredictConfig, Predictor, Scored
from auricle.storage import disk_errors
from auricle.tensor_files import tensor_bytes
from auricle.tokens.embedding_files import REMEDY
from auricle.tokens.embeddings import check_writable
from auricle.tokens.extract import clip_progress
from auricle.tokens.unfinished import UnfinishedWork, bytes_of, part_bytes, read_part, written_before
from auricle.training.lock import RunLock
from auricle.words import counted


@dataclass(frozen=True)
class PredictedCorpus:
    """Result of `predict`.

    Attributes:
        path: the table, or folder.
        rows: number of its rows; None: other shards are still to be done, and the last of them writes the table.
        ledger: what came in, the windows that have predictions, and why others have none; the list beside the table has
            it, too.
        broken: recordings and stretches without a prediction -> the reason.
        notes: remarks.
    """

    path: Path
    rows: int | None
    ledger: Ledger = field(default_factory=Ledger)
    broken: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
    todo = _Work(out, corpus, predictor, share, resume=resume, overwrite=overwrite)
    if todo.made is None:
        with RunLock(todo.work.folder / f"shard-{share[0]}-of-{share[1]}", f"work on {out.name} by another process"):
            try:
                missing = todo.missing()
                if engine == "ray":
                    todo.do(_by_ray(source, corpus, config, missing, workers), progress)
                else:
                    todo.do(((k, scored_bytes(predictor.score(corpus, todo.units[k]))) for k in missing), progress)
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


class _Work:
    """The units of a corpus, those that are done, and the table."""

    def __init__(
        self, out: Path, corpus: Corpus, predictor: Predictor, share: tuple[int, int], *, resume: bool, overwrite: bool
    ) -> None:
        self.out, self.corpus, self.predictor, self.overwrite = out, corpus, predictor, overwrite
        head = predictor.head
        digest = hashlib.sha256(json.dumps(head.to_json(), sort_keys=True).encode() + tensor_bytes(head.tensors(), {}))
        self.facts = {
            "model": predictor.reader.fingerprint,
            "head": digest.hexdigest()[:16],
            "corpus": corpus.fingerprint,
            "number of clips": len(corpus),
            "settings": predictor.config.to_json(),
        }
        self.units = predictor.units(corpus)
        self.share = range(share[0] - 1, len(self.units), share[1])
        self.work = UnfinishedWork(out, self.facts, resume=resume, mine={_name(k) for k in self.share})
        # Where every unit is waiting, a killed call may have written the table without its list.
        waiting = len(self.work.files()) == len(self.units)
        self.made = None if overwrite or waiting else self._before()

    def missing(self) -> list[int]:
        """Return the units of this share that are to be done."""
        done = {file.stem for file in self.work.files()}
        return [k for k in self.share if _name(k) not in done]

    def do(self, done: Iterable[tuple[int, bytes]], progress: bool) -> None:
        """Keep units as they get done."""
        seconds = self.corpus.column("seconds")
        whole = [self.predictor.windows.count(round(s * 1000), 1000) for s in seconds]

        def size(unit: Sequence[Stretch]) -> int:
            return sum(whole[part.row] - part.first if part.count is None else part.count for part in unit)

        sizes = {k: size(self.units[k]) for k in self.share}
        with clip_progress("predicting windows", progress) as bar:
            left = sum(sizes[k] for k in self.missing())
            task = bar.add_task("", total=sum(sizes.values()), completed=sum(sizes.values()) - left)
            for k, content in done:
                self.work.keep(_name(k), content)
                bar.update(task, advance=sizes[k])

    def write(self) -> None:
        """Write the table of all units.

        Raises:
            CorpusError: nothing could be predicted.
            StorageError: the disk is full, or the table's place was taken.
        """
        losses: list[Loss] = []
        windows = 0

        def columns() -> Iterator[dict[str, np.ndarray]]:
            nonlocal windows
            for file in self.work.files():
                arrays, said = read_part(file)
                windows += said["windows"]
                losses.extend(_loss(*one) for one in said["losses"])
                yield arrays

        files, head = self.corpus.column("file"), self.predictor.head
        lost = lambda: {*with_lost_windows(self.corpus, losses, windows).reasons()}  # noqa: E731
        rows = write_predictions(
            self.work.table,
            prediction_tables(columns(), files, self.predictor),
            schema=table_schema(head.kind == "anomaly"),
            files=(file for gone in (lost(),) for file in dict.fromkeys(files) if file not in gone),
            highest=self.predictor.reader.rate / 2,
        )
        if windows == sum(loss.windows for loss in losses if not loss.used):
            self.work.remove()
            why = f"the first, {files[losses[0].row]!r}: {losses[0].reason}" if losses else "the corpus holds no clips"
            raise CorpusError(f"nothing of {self.corpus.name} could be predicted ({why}); see `auricle corpus scan`")
        if not self.overwrite and self.out.exists() and not _same(self.work.table, self.out):
            self._before()
        with disk_errors(self.out, REMEDY):
            # The list of another table of as many bytes must not be taken for that of this one.
            beside(self.out).unlink(missing_ok=True)
            if self.out.is_dir():
                shutil.rmtree(self.out)
            self.work.table.replace(self.out)
        said = {"windows": windows, "losses": [_said(loss) for loss in losses]}
        self.made = {
            "facts": self.facts, "model": self.predictor.model.name, "corpus": self.corpus.name,
            "bytes": bytes_of(self.out), "rows": rows, "said": said,
        }  # fmt: skip
        self._ledger().write(beside(self.out), made=self.made)
        self.work.remove()

    def result(self) -> PredictedCorpus:
        """Return what the table holds."""
        made = self.made or {}
        ledger = self._ledger()
        broken = {entry.name: entry.reason for kind in ("recording", "window") for entry in ledger.skipped(kind)}
        notes = (*self.corpus.notes, *band_notes(self.corpus, self.predictor.reader.rate))
        return PredictedCorpus(self.out, made["rows"], ledger, broken, notes)

    def _ledger(self) -> Ledger:
        said = (self.made or {})["said"]
        return with_lost_windows(self.corpus, (_loss(*one) for one in said["losses"]), said["windows"])

    def _before(self) -> dict[str, Any] | None:
        def held(made: dict[str, Any]) -> str:
            return f"{counted(made['rows'], 'prediction')} of the corpus {made['corpus']} by the model {made['model']}"

        wanted = "the predictions of these recordings by this model with these settings"
        return written_before(self.out, self.facts, needs=("rows",), held=held, verb="predict", wanted=wanted)


def scored_bytes(scored: Scored) -> bytes:
    """Return the predictions of a unit as the content of its file."""
    return part_bytes(scored.columns, {"windows": scored.windows, "losses": [_said(loss) for loss in scored.losses]})


def _said(loss: Loss) -> list[Any]:
    return [loss.row, loss.begin, loss.end, loss.reason, loss.reason.cause, loss.windows, loss.used]


def _loss(row: int, begin: float, end: float, text: str, cause: str, windows: int, used: bool) -> Loss:
    return Loss(row, begin, end, Reason(text, cause), windows, used)


def _name(unit: int) -> str:
    return f"part-{unit:08d}"


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


def _same(one: Path, other: Path) -> bool:
    """Return whether two files, or all files of two folders, hold the same."""
    if one.is_file() or other.is_file():
        return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
    names = [sorted(p.relative_to(top) for p in top.rglob("*") if p.is_file()) for top in (one, other)]
    return names[0] == names[1] and all(filecmp.cmp(one / name, other / name, shallow=False) for name in names[0])


class _RayWorker:
    """Predicts units on a worker of a Ray cluster."""

    def __init__(self, source: Model | tuple[str, dict[str, Any]], corpus: Corpus, config: PredictConfig) -> None:
        torch.set_num_threads(1)
        model = source if isinstance(source, Model) else load(source[0], **source[1])
        self._predictor, self._corpus = Predictor(model, config), corpus
        self._units = self._predictor.units(corpus)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        unit = int(row["unit"])
        return {"unit": unit, "content": scored_bytes(self._predictor.score(self._corpus, self._units[unit]))}


def _by_ray(
    source: Model | tuple[str, dict[str, Any]],
    corpus: Corpus,
    config: PredictConfig,
    units: Sequence[int],
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
    todo = data.from_items([{"unit": k} for k in units], override_num_blocks=len(units))
    done = todo.map(
        _RayWorker, fn_constructor_args=(source, corpus, config), concurrency=min(count, len(units)), num_gpus=gpus
    )
    for row in done.iter_rows():
        yield int(row["unit"]), bytes(row["content"])
