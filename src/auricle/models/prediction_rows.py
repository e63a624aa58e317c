"""Rows of a table of predictions: names put in, windows and runs of frames joined to events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from auricle.corpus.ledger import Entry, Ledger
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.models.opening import Model
from auricle.models.scoring import Loss, PredictConfig, Predictor

SCHEMA = pa.schema(
    [
        *(("file", pa.string()), ("start", pa.float64()), ("end", pa.float64())),
        *(("label", pa.string()), ("score", pa.float64())),
    ]
)
# Of anomalies: why.
REASONS = pa.schema(
    [
        *(("threshold", pa.float64()), ("anomalous", pa.bool_())),
        *(("nearest", pa.string()), ("nearest_distance", pa.float64())),
    ]
)
# Windows and runs that end where the next begins are that close, in seconds.
_TOUCHING = 1e-6

Columns = dict[str, np.ndarray]


def table_schema(anomalies: bool) -> pa.Schema:
    """Return the columns of a table of predictions."""
    return pa.schema([*SCHEMA, *REASONS]) if anomalies else SCHEMA


def prediction_tables(parts: Iterable[Columns], files: Sequence[str], predictor: Predictor) -> Iterator[pa.Table]:
    """Yield the rows of all units in order, in the memory of one unit and of the events of one clip.

    Args:
        parts: columns of the units (`Scored.columns`), in order.
        files: recording of each clip of the corpus.
        predictor: what made them: its `merge` and `shortest` say which rows are joined, and which are dropped then.
    """
    if predictor.merge is not None:
        parts = _merged(parts, predictor.merge, predictor.shortest)
    names, anomalies = predictor.head.classes, predictor.head.kind == "anomaly"
    schema = table_schema(anomalies)
    for part in parts:
        held = dict(part)
        held["file"] = np.array([files[row] for row in held.pop("row")], dtype=object)
        held["label"] = np.array([names[place] for place in held["label"]], dtype=object)
        # The shortest number that is this float32: 0.9, not 0.8999999761581421.
        held["score"] = pa.array(held["score"], pa.float32()).cast(pa.string()).cast(pa.float64())
        yield pa.table({name: pa.array(held[name]).cast(schema.field(name).type) for name in schema.names})


def predict_all(model: Model, corpus: Corpus, settings: Mapping[str, Any]) -> pa.Table:
    """Return the rows of a corpus in one table; see `Model.predict_file`.

    Raises:
        ConfigError: the model has no head, or a setting does not fit it.
        CorpusError: nothing could be predicted.
    """
    predictor = Predictor(model, PredictConfig().replace(**settings))
    scored = [predictor.score(corpus, unit) for unit in predictor.units(corpus)]
    losses = [loss for part in scored for loss in part.losses if not loss.used]
    if sum(part.windows for part in scored) == sum(loss.windows for loss in losses):
        why = f"the first, {corpus[losses[0].row].file!r}: {losses[0].reason}" if losses else "it holds no clips"
        raise CorpusError(f"nothing of {corpus.name} could be predicted ({why}); see `auricle corpus scan`")
    files, schema = corpus.column("file"), table_schema(predictor.head.kind == "anomaly")
    tables = prediction_tables((part.columns for part in scored), files, predictor)
    lost = [[files[loss.row], loss.begin, loss.end, loss.reason] for loss in _stretches(losses)]
    return pa.concat_tables([schema.empty_table(), *tables]).replace_schema_metadata({"lost": json.dumps(lost)})


def _merged(parts: Iterable[Columns], gap: float, shortest: float) -> Iterator[Columns]:
    """Join rows of a clip and label that are at most `gap` seconds apart; of anomalies the anomalous ones."""
    rows = (
        dict(zip(part, row, strict=True))
        for part in parts
        for row in zip(*(column.tolist() for column in part.values()), strict=True)
    )
    kept = (row for row in rows if row.get("anomalous", True))
    for _, clip in groupby(kept, key=lambda row: row["row"]):
        events: list[dict[str, Any]] = []
        running: dict[int, dict[str, Any]] = {}
        for row in clip:
            last = running.get(row["label"])
            if last is None or row["start"] > last["end"] + gap + _TOUCHING:
                running[row["label"]] = row
                events.append(row)
            else:
                # The reasons are those of the highest score.
                best = row if row["score"] > last["score"] else last
                last |= best | {"start": last["start"], "end": max(last["end"], row["end"])}
        events = [e for e in events if e["end"] - e["start"] >= shortest - _TOUCHING]
        if events:
            events.sort(key=lambda e: (e["start"], e["label"]))
            yield {name: np.array([event[name] for event in events]) for name in events[0]}


def with_lost_windows(corpus: Corpus, losses: Iterable[Loss], windows: int) -> Ledger:
    """Return a corpus's ledger with its windows: those without a prediction by stretch, and recordings without any.

    Args:
        corpus: the clips.
        losses: in order of units.
        windows: how many there were.
    """
    files, ledger = corpus.column("file"), corpus.ledger
    lengths = dict[str, float]()
    for file, seconds in zip(files, corpus.column("seconds"), strict=True):
        lengths[file] = lengths.get(file, 0.0) + seconds
    entries: list[Entry] = []
    lost, lost_seconds = 0, dict[str, float]()
    for loss in _stretches(losses):
        file = files[loss.row]
        name = f"{file} [{loss.begin:.10g} s + {loss.end - loss.begin:.10g} s]"
        entries.append(Entry("window", name, loss.reason, loss.reason.cause, loss.windows, used=loss.used))
        if not loss.used:
            lost += loss.windows
            lost_seconds[file] = lost_seconds.get(file, 0.0) + loss.end - loss.begin
            if lost_seconds[file] >= lengths[file] - 0.02:
                ledger = ledger.drop(Entry("recording", file, loss.reason, loss.reason.cause))
    return ledger.add("window", used=windows - lost, skipped=entries)


def _stretches(losses: Iterable[Loss]) -> list[Loss]:
    """Join windows in a row that are lost for the same reason."""
    found: list[Loss] = []
    for loss in sorted(losses, key=lambda each: (each.row, each.used, each.begin)):
        last = found[-1] if found else None
        same = last is not None and (last.row, last.used, last.reason) == (loss.row, loss.used, loss.reason)
        if last is not None and same and loss.begin <= last.end + _TOUCHING:
            end, count = max(last.end, loss.end), last.windows + loss.windows
            found[-1] = Loss(last.row, last.begin, end, last.reason, count, last.used)
        else:
            found.append(loss)
    return found
