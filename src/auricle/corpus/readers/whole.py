"""Corpora from the columns of a source: missing durations are read from headers, bad rows are skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from auricle.corpus.stores import FolderStore, Place, Store, probe_headers
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.words import counted


def make_corpus(
    columns: Mapping[str, Sequence[Any]],
    root: Path,
    name: str,
    *,
    store: Store | None = None,
    events: pa.Table | None = None,
    problems: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
) -> Corpus:
    """Make a corpus from a source's columns.

    Clips with a `start` are ranges (without `seconds`, to the recording's end); all others are whole recordings.
    Recordings without a duration in the table or in a readable header are skipped and listed in `problems`.

    Args:
        columns: `file`, and any others.
        root: folder of the corpus.
        name: name in reports.
        store: the audio; by default loose files below the root.
        events: strong labels.
        problems: recordings that were skipped before -> the reason.
        notes: remarks.

    Raises:
        CorpusError: no clip is left.
    """
    store = store or FolderStore(root)
    full = {key: list(values) for key, values in columns.items()}
    count = len(full["file"])
    skipped = dict(problems or {})
    keys = full.setdefault("_key", list(full["file"]))
    offsets = full.setdefault("_offset", [-1] * count)
    sizes = full.setdefault("_size", [-1] * count)
    starts = full.setdefault("start", [None] * count)
    seconds = full.setdefault("seconds", [None] * count)
    unknown = [i for i, value in enumerate(seconds) if value is None]
    places = [Place(keys[i], offsets[i], sizes[i]) for i in unknown]
    bad = set()
    remarks: dict[str, str] = {}
    for i, found in zip(unknown, probe_headers(store, places), strict=True):
        if isinstance(found, str):
            skipped[full["file"][i]] = found
            bad.add(i)
        else:
            seconds[i] = found.seconds - (starts[i] or 0.0)
            if found.notes:
                remarks[full["file"][i]] = "; ".join(found.notes)
    for i, value in enumerate(seconds):
        if i not in bad and (value < 0 or (starts[i] is not None and (value <= 0 or starts[i] < 0))):
            skipped[full["file"][i]] = f"the range is empty: {value:g} s from {starts[i] or 0.0:g} s on"
            bad.add(i)
    if remarks:
        file, said = next(iter(remarks.items()))
        notes = (
            *notes,
            f"read in part, or with a wrong header: {counted(len(remarks), 'recording')}, such as {file!r}: {said}",
        )
    full["_whole"] = [start is None for start in starts]
    full["start"] = [start or 0.0 for start in starts]
    good = [i for i in range(count) if i not in bad]
    if not good:
        first = next(iter(skipped.items()), ("", "the table lists no clips"))
        raise CorpusError(
            f"no recording of {name} ({root}) can be used: {len(skipped)} skipped, the first: {': '.join(first)}"
        )
    kept = {key: [values[i] for i in good] for key, values in full.items()} if bad else full
    return Corpus.from_columns(kept, root=root, name=name, store=store, events=events, problems=skipped, notes=notes)
