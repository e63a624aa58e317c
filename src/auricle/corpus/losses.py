"""Clips that are lost after a corpus was opened, or used with a remark, in its ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auricle.audio.recording import SILENCE
from auricle.corpus.ledger import FOLLOWS, Entry, Kind, Ledger
from auricle.corpus.table import Corpus
from auricle.errors import Reason


def silence(spread: float) -> Reason | None:
    """Return what a ledger says of a silent clip, whatever reads it; None of any other.

    Args:
        spread: half the range between its lowest and its highest sample: a constant is silence, too.

    Examples:
        >>> silence(0.2), silence(0.0).cause
        (None, 'silent')
    """
    if spread >= SILENCE:
        return None
    said = f"silent: its samples vary by less than {SILENCE:g} of full scale"
    return Reason(f"{said}; pre-training skips it, embeddings and probes use it", "silent")


def spread_of(wave: np.ndarray) -> float:
    """Return half the range between the lowest and the highest sample of a clip, see `silence`."""
    return (float(wave.max()) - float(wave.min())) / 2 if len(wave) else 0.0


def clip_name(corpus: Corpus, row: int) -> str:
    """Return the name of a clip: its recording's, with the range if it is one."""
    return clip_names(replace(corpus, table=corpus.table.slice(row, 1)), [0])[0]


def clip_names(corpus: Corpus, rows: Iterable[int]) -> list[str]:
    """Return the names of clips, see `clip_name`."""
    files, starts, seconds, whole = (corpus.column(name) for name in ("file", "start", "seconds", "_whole"))
    return [files[r] if whole[r] else f"{files[r]} [{starts[r]:.10g} s + {seconds[r]:.10g} s]" for r in rows]


def with_losses(
    corpus: Corpus, reasons: Mapping[int, Reason], remarks: Mapping[int, Reason | None] | None = None
) -> Ledger:
    """Return a corpus's ledger in which clips are skipped, or used with a remark.

    A recording is skipped if none of its clips is left; its events and the rows of its label table follow. Where clips
    are ranges, they are counted too, once for all steps that lose some.

    Args:
        corpus: the clips.
        reasons: row -> reason.
        remarks: row -> what is said of a clip that is used all the same.

    Examples:
        >>> corpus = Corpus.from_columns({"file": ["a.wav", "b.wav"], "seconds": [1.0, 2.0]}, root="sounds")
        >>> with_losses(corpus, {1: Reason("it is silent", "silent")}).sentence
        '1 of 2 recordings used; 1 skipped: 1 silent'
        >>> with_losses(corpus, {}, {1: Reason("it is silent", "silent")}).sentence
        '2 of 2 recordings used (1 silent)'
    """
    files = corpus.column("file")
    left = {file for row, file in enumerate(files) if row not in reasons} if reasons else set(files)
    lost = {
        files[row]: Entry("recording", files[row], why, why.cause)
        for row, why in reasons.items()
        if files[row] not in left
    }
    ledger = corpus.ledger.drop(*lost.values(), *_following(corpus, reasons, set(lost)))
    divided = len(set(files)) < len(files) or "clip" in ledger.came
    named = (lambda rows: clip_names(corpus, rows)) if divided else (lambda rows: [files[row] for row in rows])
    if divided:
        clips = zip(named(reasons), reasons.values(), strict=True)
        # An earlier step may have counted them; those that came since, by dividing or joining, are new.
        new = max(0, len(files) - ledger.used.get("clip", 0))
        ledger = ledger.add("clip", used=new).drop(*(Entry("clip", name, why, why.cause) for name, why in clips))
    said = {row: why for row, why in (remarks or {}).items() if why is not None and row not in reasons}
    kind: Kind = "clip" if divided else "recording"
    remarked = zip(named(said), said.values(), strict=True)
    return ledger.drop(*(Entry(kind, name, why, why.cause, used=True) for name, why in remarked))


def _following(corpus: Corpus, reasons: Mapping[int, Reason], lost: set[str]) -> list[Entry]:
    """Return the rows of a label table and the events that are skipped with clips and recordings."""
    files, held = corpus.column("file"), corpus.column("_rows")
    # The row of a divided clip is used as long as any of its pieces may be.
    divided = {file for file, count in zip(files, held, strict=True) if not count}
    rows = sum(held[row] for row in reasons if files[row] in lost or files[row] not in divided)
    events = 0
    if lost and corpus.event_table is not None:
        there = pc.is_in(corpus.event_table.column("file"), value_set=pa.array(sorted(lost), type=pa.string()))
        timed = pc.is_valid(corpus.event_table.column("onset"))
        events = pc.sum(pc.and_(there, timed)).as_py() or 0
    counts: dict[Kind, int] = {"row": rows, "event": events}
    # Corpora made in memory may have events that no ledger has counted.
    known = {kind: min(count, corpus.ledger.used.get(kind, 0)) for kind, count in counts.items()}
    why = "their recordings or clips are skipped"
    return [Entry(kind, corpus.name, why, FOLLOWS, count) for kind, count in known.items() if count]


def with_unused(
    corpus: Corpus,
    label: str,
    rows: Iterable[int],
    lost: Mapping[int, str],
    remarks: Mapping[int, Reason | None] | None = None,
) -> Ledger:
    """Return a corpus's ledger without the clips that a task does not use.

    Args:
        corpus: the clips.
        label: column of the labels; clips without a value in it are unlabelled.
        rows: rows of the clips that take part.
        lost: those of them that can't be read -> the reason.
        remarks: as for `with_losses`.
    """
    part = set(rows)
    labels = corpus.column(label) if label in corpus.columns else [""] * len(corpus)
    reasons = {
        row: Reason("it has no label", "unlabelled")
        if value is None
        else Reason("the task does not use it", "not in the task")
        for row, value in enumerate(labels)
        if row not in part
    }
    return with_losses(corpus, reasons | {row: Reason(why) for row, why in lost.items()}, remarks)
