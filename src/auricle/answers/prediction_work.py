"""The work of `predict`: the units of a corpus, those that are done, and the table that is written in the end."""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auricle.answers.prediction_table import write_predictions
from auricle.corpus.ledger import Ledger, beside
from auricle.corpus.reading import band_notes
from auricle.corpus.stretches import Stretch
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError, Reason
from auricle.models.prediction_rows import prediction_tables, table_schema, with_lost_windows
from auricle.models.scoring import Loss, Predictor, Scored
from auricle.storage import disk_errors
from auricle.tensor_files import tensor_bytes
from auricle.tokens.embedding_files import REMEDY
from auricle.tokens.extract import clip_progress
from auricle.tokens.unfinished import UnfinishedWork, bytes_of, part_bytes, read_part, written_before
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


class PredictionWork:
    """The units of a corpus, those that are done, and the table.

    Args:
        out: the table.
        corpus: the clips.
        predictor: the model with its settings.
        share: which share (from 1) of how many this process does.
        resume: continue what is there.
        overwrite: replace what `out` holds.

    Attributes:
        units: of the corpus.
        work: what is kept until the table is written.
        made: what the list beside a finished table says; None: it is to be written.

    Raises:
        ConfigError: clips are too long to stay whole.
        StorageError: `out` holds anything else, or unfinished work of another call is there.
    """

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

        def predicted() -> Iterator[str]:
            # Begun after the last row: by then every loss is known.
            lost = {*with_lost_windows(self.corpus, losses, windows).reasons()}
            yield from (file for file in dict.fromkeys(files) if file not in lost)

        rows = write_predictions(
            self.work.table,
            prediction_tables(columns(), files, self.predictor),
            schema=table_schema(head.kind == "anomaly"),
            files=predicted(),
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


def _same(one: Path, other: Path) -> bool:
    """Return whether two files, or all files of two folders, hold the same."""
    if one.is_file() or other.is_file():
        return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
    names = [sorted(p.relative_to(top) for p in top.rglob("*") if p.is_file()) for top in (one, other)]
    return names[0] == names[1] and all(filecmp.cmp(one / name, other / name, shallow=False) for name in names[0])
