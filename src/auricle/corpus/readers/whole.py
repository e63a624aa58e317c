"""Corpora from the columns of a source: missing durations are read from headers, bad rows are skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from auricle.corpus.ledger import FOLLOWS, Entry, Ledger, noted
from auricle.corpus.stores import FolderStore, Place, Store, probe_headers
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError, Reason


@dataclass(frozen=True)
class TableRows:
    """The rows of a table behind clips: how many each has, and the name of each in a ledger."""

    counts: Sequence[int]
    name: Callable[[int], str]


def make_corpus(
    columns: Mapping[str, Sequence[Any]],
    root: Path,
    name: str,
    *,
    store: Store | None = None,
    events: pa.Table | None = None,
    ledger: Ledger | None = None,
    rows: TableRows | None = None,
    lost: Mapping[str, Entry] | None = None,
    notes: tuple[str, ...] = (),
) -> Corpus:
    """Make a corpus from a source's columns.

    Clips with a `start` are ranges (without `seconds`, to the recording's end); all others are whole recordings.
    Recordings without a duration in the table or in a readable header are skipped and listed in the ledger, which also
    counts those that are used.

    Args:
        columns: `file`, and any others.
        root: folder of the corpus.
        name: name in reports.
        store: the audio; by default loose files below the root.
        events: strong labels.
        ledger: of what was skipped before.
        rows: rows of a table, which are counted too.
        lost: recordings of which a row was skipped before -> the reason; those without any other row are skipped.
        notes: remarks.

    Raises:
        CorpusError: no clip is left.
    """
    store = store or FolderStore(root)
    full: dict[str, Any] = {
        key: values if isinstance(values, list) else list(values) for key, values in columns.items()
    }
    files = full["file"]
    count = len(files)
    keys = full.setdefault("_key", files)
    offsets = full.setdefault("_offset", [-1] * count)
    sizes = full.setdefault("_size", [-1] * count)
    starts = full.setdefault("start", [None] * count)
    # Filled below: not the caller's own list.
    seconds = full["seconds"] = list(full.get("seconds") or [None] * count)
    unknown = [i for i, value in enumerate(seconds) if value is None]
    places = [Place(keys[i], offsets[i], sizes[i]) for i in unknown]
    bad: dict[int, Reason] = {}
    remarks: dict[str, tuple[Reason, ...]] = {}
    for i, found in zip(unknown, probe_headers(store, places), strict=True):
        if isinstance(found, str):
            bad[i] = found
        else:
            seconds[i] = found.seconds - (starts[i] or 0.0)
            if found.notes:
                remarks[full["file"][i]] = found.notes
    for i, value in enumerate(seconds):
        if i not in bad and (value < 0 or (starts[i] is not None and (value <= 0 or starts[i] < 0))):
            bad[i] = Reason(f"the range is empty: {value:g} s from {starts[i] or 0.0:g} s on", "empty range")
    full["_whole"] = [start is None for start in starts]
    full["_rows"] = [0] * count if rows is None else list(rows.counts)
    full["start"] = [start or 0.0 for start in starts]
    good: Sequence[int] = [i for i in range(count) if i not in bad] if bad else range(count)
    used = set(files) if not bad else {files[i] for i in good}
    reasons = {file: entry for file, entry in (lost or {}).items() if file not in used}
    reasons |= {
        files[i]: Entry("recording", files[i], why, why.cause) for i, why in bad.items() if files[i] not in used
    }
    ledger = (ledger or Ledger()).add("recording", used=len(used), skipped=reasons.values())
    ledger = ledger.drop(*(entry for f, notes in remarks.items() if f in used for entry in noted(f, notes)))
    if rows is not None:
        skipped = [
            Entry("row", rows.name(i), why, FOLLOWS if files[i] in reasons else why.cause, rows.counts[i])
            for i, why in bad.items()
        ]
        ledger = ledger.add("row", used=sum(rows.counts[i] for i in good), skipped=skipped)
    if not good:
        first = next(((e.name, e.reason) for e in ledger.skipped("recording")), ("", "the table lists no clips"))
        raise CorpusError(
            f"no recording of {name} ({root}) can be used: {ledger.came.get('recording', 0)} skipped, the first: "
            f"{': '.join(first)}"
        )
    kept = {key: [values[i] for i in good] for key, values in full.items()} if bad else full
    return Corpus.from_columns(kept, root=root, name=name, store=store, events=events, ledger=ledger, notes=notes)
