"""What of a corpus was seen in pre-training: its audio, without its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from auricle.corpus.copies import MOST_NEAR, Kind, find_copies
from auricle.corpus.losses import with_losses
from auricle.corpus.readers.joining import join
from auricle.corpus.reading import read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.errors import AuricleError, CheckpointError, CorpusError, Reason
from auricle.evaluation.leaks import OnLeak, by_kind, strongest
from auricle.recipes.recordings import read_recordings, row_ids
from auricle.recipes.request import read_request
from auricle.storage import unseal
from auricle.training.run_record import RECORD
from auricle.words import was

# Copies are searched in whole clips: decoding more of them takes longer than the probes.
_MOST_HOURS = 50.0


@dataclass(frozen=True)
class Seen:
    """What of a corpus was seen in pre-training.

    Attributes:
        known: whether any of it was seen; None: not known.
        rows: rows of the clips that were seen -> how they agree with what was seen (all of them with `each`).
        notes: remarks for the result.
    """

    known: bool | None
    rows: Mapping[int, Kind] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def apply(self, corpus: Corpus, on_leak: OnLeak) -> Corpus:
        """Return the clips to test a model on that was trained with labels or captions of what it has seen.

        Args:
            corpus: the clips.
            on_leak: `warn`: all; `refuse`: an error if any was seen; `drop`: those that were not seen.

        Raises:
            CorpusError: clips were seen, and `on_leak` is `refuse`; or it is `drop`, and all were, or which were is not
                known.
        """
        if on_leak == "warn" or not self.known:
            return corpus
        if not self.rows:
            raise CorpusError(
                f"{corpus.name} has the name or the table of a corpus that was seen in pre-training, and which of its "
                "clips were seen is not known; expected clips that were not seen. Set --on-leak warn to evaluate with "
                "all of them"
            )
        if on_leak == "refuse" or len(self.rows) == len(corpus):
            others = "" if len(self.rows) == len(corpus) else "--on-leak drop to evaluate without them, or "
            raise CorpusError(
                f"{self.notes[0]}. Scores of them are not those of new clips; expected clips that were not seen. Set "
                f"{others}--on-leak warn to evaluate with them"
            )
        ledger = with_losses(corpus, dict.fromkeys(sorted(self.rows), Reason("it was seen in pre-training", "seen")))
        return replace(corpus.select([row for row in range(len(corpus)) if row not in self.rows]), ledger=ledger)


def seen(run: Path, corpus: Corpus, *, each: bool = False, progress: bool = False) -> Seen:
    """Compare a task's corpus with what a run was pre-trained on.

    A corpus counts as seen if the run's corpus, or one of the corpora joined in it, has its name (a false alarm is the
    safer mistake), or if a clip is of a recording of the run, under any name and in any folder (see
    `recipes.recordings.recording_ids`), or a copy of one in another encoding (see `corpus.copies`). For the last, the
    run's data have to be where they were, unchanged. The fingerprint of file names and sizes decides where no
    recordings are listed.

    Args:
        run: a run folder; its `corpus.json` and `recordings.parquet` record what was seen, `run.json` where it is.
        corpus: the corpus of the task.
        each: name every clip that was seen; else nothing is decoded where some are known to be.
        progress: show progress bars.

    Returns:
        `known` is None if the run does not record its corpus, or does not list its recordings (an earlier version made
        it) and the names differ, or none of the task's recordings can be read.

    Raises:
        CheckpointError: `corpus.json` or `recordings.parquet` is damaged.
    """
    recorded = _recorded(run)
    if recorded is None:
        return Seen(None)
    known = {recorded["name"], *recorded.get("parts", {})}
    mine = {corpus.name, *map(str, corpus.column("corpus") if "corpus" in corpus.columns else ())}
    theirs, ours = read_recordings(run), row_ids(corpus)
    if theirs is None or not len(theirs) or not ours.any():
        same_table = recorded.get("table", recorded["fingerprint"]) == corpus.table_fingerprint
        return Seen(True if known & mine or same_table else None)
    rows: dict[int, Kind] = dict.fromkeys(np.flatnonzero(np.isin(ours, theirs) & (ours > 0)).tolist(), "bytes")
    notes: list[str] = []
    if each or not (rows or known & mine):
        found = _copies(run, corpus, recorded, progress)
        if isinstance(found, str):
            notes.append(f"clips that were seen in pre-training in another encoding are not recognised: {found}")
        else:
            rows = strongest(rows, found)
    if rows:
        first = corpus.column("file")[min(rows)]
        counts = f"{len(rows)} of {len(corpus)} clips {was(len(rows))} seen in pre-training"
        notes.insert(0, f"{counts} ({by_kind(rows)}; such as {first})")
    return Seen(bool(rows or known & mine), rows, tuple(notes))


def _recorded(run: Path) -> dict[str, Any] | None:
    path = run / "corpus.json"
    if not path.is_file():
        return None
    try:
        recorded = unseal(path.read_text(encoding="utf-8"), required=(run / RECORD).exists())
        parts = {str(name): count for name, count in recorded.get("parts", {}).items()}
        return {**recorded, "name": str(recorded["name"]), "fingerprint": recorded["fingerprint"], "parts": parts}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); expected the name and the fingerprint of a corpus: restore the file"
        ) from error


def _copies(run: Path, corpus: Corpus, recorded: dict[str, Any], progress: bool) -> list[tuple[int, Kind]] | str:
    """Return the rows of a corpus that are copies of a run's clips; or why that is not known."""
    try:
        request = read_request(run)
        if request is None or request.data is None:
            return "the run does not record where its data are"
        if request.data.startswith("hub:"):
            return f"the run's data, {request.data}, are not on this disk"
        learnt = read_as(open_corpus(request.data, exclude=request.exclude), request.channel, request.time_expansion)
    except AuricleError as error:
        return f"the run's data can't be opened ({error})"
    # A run of an earlier version knows its table alone.
    if recorded["fingerprint"] != (learnt.fingerprint if "table" in recorded else learnt.table_fingerprint):
        return f"the run's data in {request.data} have changed since"
    count = len(learnt) + len(corpus)
    if count > MOST_NEAR:
        return f"{count:,} clips of both are more than {MOST_NEAR:,}"
    hours = sum(sum(clips.column("seconds")) for clips in (learnt, corpus)) / 3600
    if hours > _MOST_HOURS:
        return f"{hours:,.1f} hours of both are more than {_MOST_HOURS:g}"
    first = len(learnt)
    pairs = find_copies(join([learnt, corpus]), range(count), sides=np.arange(count) >= first, progress=progress)
    return [(copy.second - first, copy.kind) for copy in pairs]
