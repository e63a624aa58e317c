"""What a run was trained on: written into its folder, compared when it is resumed or evaluated."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from auricle.corpus.ledger import beside
from auricle.corpus.losses import with_losses
from auricle.corpus.stores import Place, Store
from auricle.corpus.table import Corpus
from auricle.errors import AudioError, CheckpointError, Reason
from auricle.storage import write_atomic
from auricle.training.run_folder import RunFolder
from auricle.training.run_record import check_sum
from auricle.words import counted

RECORDINGS = "recordings.parquet"
# Bytes that identify a recording, at its begin, middle and end: beyond the headers and tags, which may be alike.
PIECE = 1 << 14


def check_corpus(run: RunFolder, corpus: Corpus) -> None:
    """Refuse to resume a run on another corpus.

    Raises:
        CheckpointError: the corpus differs, or the run does not say which it was.
    """
    began = run.read("corpus.json")
    if began is None and not run.checkpoints:
        return  # killed before it was written: no step was made
    if not isinstance(began, dict):
        raise CheckpointError(
            f"{run.path} has checkpoints and no readable corpus.json, so their corpus is not known; copy "
            "the run folder again from its source, or start a new run in another --out"
        )
    # A run of an earlier version knows its table alone.
    mine = corpus.fingerprint if "table" in began else corpus.table_fingerprint
    if began.get("fingerprint") == mine:
        return
    if began.get("table") == corpus.table_fingerprint:
        ids, begun = recording_ids(corpus), read_recordings(run.path)
        new = "some" if begun is None else f"{int((~np.isin(ids, begun)).sum())} of {len(ids)}"
        raise CheckpointError(
            f"{run.path} was begun on the corpus {began.get('name')}, whose files have the same names and sizes, and "
            f"other content now ({new} recordings have changed, or events were edited): restore them, or start a new "
            "run in another --out"
        )
    raise CheckpointError(
        f"{run.path} was begun on the corpus {began.get('name')} ({counted(began.get('clips') or 0, 'clip')}, "
        f"fingerprint {began.get('fingerprint')}); this is {corpus.name} ({counted(len(corpus), 'clip')}, {mine}): set "
        "the same --data (and "
        "--exclude, --channel, --time-expansion), or start a new run in another --out"
    )


def write_ledger(
    run: RunFolder,
    corpus: Corpus,
    exclude: Sequence[str],
    broken: Sequence[Mapping[str, str]] = (),
    lost: Sequence[Mapping[int, Reason]] = (),
    silent: Sequence[Mapping[int, Reason]] = (),
    say: Callable[[str], None] | None = None,
) -> None:
    """Write `corpus.json` (name, fingerprint, clips, hours, parts, unusable files) and `ledger.jsonl` of a run.

    Args:
        run: the run's folder.
        corpus: the clips.
        exclude: sub-folders that were excluded.
        broken: of each rank, the clips that could not be read in training -> the reason.
        lost: of each rank, the rows of those that are not used any more -> the reason.
        silent: of each rank, the rows of those that are used although they are silent -> the remark.
        say: receives the ledger's sentence, and where the list is.
    """
    if not run.writes:
        return
    ledger = with_losses(corpus, _together(lost), _together(silent))
    described: dict[str, Any] = {
        "name": corpus.name,
        "fingerprint": corpus.fingerprint,
        "table": corpus.table_fingerprint,
        "clips": len(corpus),
        "hours": round(corpus.seconds / 3600, 4),
        "exclude": list(exclude),
        "ledger": ledger.sentence,
        "broken": corpus.ledger.reasons() | {file: why for part in broken for file, why in part.items()},
    }
    if "corpus" in corpus.columns:
        # A later evaluation reads here which corpora were seen in pre-training.
        names = corpus.column("corpus")
        described["parts"] = {str(name): names.count(name) for name in sorted(set(names), key=str)}
    run.write("corpus.json", described)
    path = ledger.write(beside(run.path))
    if say is not None:
        say(ledger.sentence if ledger.complete else f"{ledger.sentence}. All are listed, with the reason, in {path}")


def _together(ranks: Sequence[Mapping[int, Reason]]) -> dict[int, Reason]:
    return {row: why for rows in ranks for row, why in rows.items()}


def opening_notes(corpus: Corpus) -> list[str]:
    """Return what there is to say about how a corpus was opened: its notes, and a sentence on skipped recordings."""
    lines, skipped = list(corpus.notes), corpus.ledger.skipped("recording")
    if skipped:
        lines.append(f"{corpus.ledger.sentence}. The first that was skipped: {skipped[0].name} ({skipped[0].reason})")
    return lines


def recording_ids(corpus: Corpus) -> np.ndarray:
    """Identify the recordings of a corpus by their encoded bytes, whatever their names and folders.

    Of each recording the size and three pieces (begin, middle, end: 16 KiB each) are hashed; nothing is decoded, and
    little is read. The same recording in another encoding has another identity; an unreadable one has none.

    Returns:
        `(N,)` uint64, sorted, each once.
    """
    found = np.unique(row_ids(corpus))
    return found[found > 0]


def row_ids(corpus: Corpus) -> np.ndarray:
    """Return the identity (see `recording_ids`) of each clip's recording, `(N,)` uint64; 0 where it can't be read."""
    columns = [corpus.table.column(name).to_pylist() for name in ("_store", "_key", "_offset", "_size")]
    places = list(zip(*columns, strict=True))
    known = {place: _recording_id(corpus.stores[place[0]], Place(*place[1:])) for place in sorted(set(places))}
    return np.array([known[place] for place in places], dtype=np.uint64)


def _recording_id(store: Store, place: Place) -> int:
    try:
        source = store.read(place)
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            size = file.seek(0, io.SEEK_END)
            digest = hashlib.sha256(str(size).encode())
            for begin in (0, (size - PIECE) // 2, size - PIECE):
                file.seek(max(0, begin))
                digest.update(file.read(PIECE))
    except (AudioError, OSError):
        return 0
    return int.from_bytes(digest.digest()[:8], "little")


def write_recordings(run: RunFolder, corpus: Corpus) -> None:
    """Write the identities of a run's recordings into its folder."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"recording": recording_ids(corpus)}), buffer)
    write_atomic(run.path / RECORDINGS, buffer.getvalue())
    run.seal(RECORDINGS)


def read_recordings(run: Path) -> np.ndarray | None:
    """Return the identities (see `recording_ids`) of a run's training recordings, or None if it does not hold them.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = run / RECORDINGS
    if not path.is_file():
        return None
    check_sum(run, RECORDINGS)
    try:
        return np.asarray(pq.read_table(path).column("recording").to_numpy(), dtype=np.uint64)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy the run folder again from its source") from error
