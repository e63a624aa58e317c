"""Clips that are lost after a corpus was opened, in its ledger: too short, silent, unlabelled, undecodable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from auricle.corpus.ledger import FOLLOWS, Entry, Kind, Ledger
from auricle.corpus.table import Corpus

# Readers and encoders give their reasons in sentences, which may hold any file's name: whole phrases name the cause.
_CAUSES = (
    ("silent: its samples vary", "silent"),
    ("empty (0 bytes)", "empty"),
    ("no samples (zero length)", "empty"),
    ("pointer, not the recording", "not downloaded"),
    ("HTML or XML, not the recording", "not audio"),
    ("JSON text, not the recording", "not audio"),
    ("too short: ", "too short"),
    ("shorter than the encoder needs", "too short"),
    ("samples read are NaN or infinite", "not finite"),
    ("is not finite", "not finite"),
    ("are not finite", "not finite"),
    ("channels cancel each other", "channels cancel"),
    ("no such file", "missing"),
)


def clip_name(corpus: Corpus, row: int) -> str:
    """Return the name of a clip: its recording's, with the range if it is one."""
    return clip_names(replace(corpus, table=corpus.table.slice(row, 1)), [0])[0]


def clip_names(corpus: Corpus, rows: Iterable[int]) -> list[str]:
    """Return the names of clips, see `clip_name`."""
    files, starts, seconds, whole = (corpus.column(name) for name in ("file", "start", "seconds", "_whole"))
    return [files[r] if whole[r] else f"{files[r]} [{starts[r]:g} s + {seconds[r]:g} s]" for r in rows]


def cause_of(reason: str) -> str:
    """Return the cause of a reason in one or two words, such as `silent` or `too short`; `corrupt` where none fits."""
    return next((cause for words, cause in _CAUSES if words in reason), "corrupt")


def with_losses(corpus: Corpus, reasons: Mapping[int, tuple[str, str]]) -> Ledger:
    """Return a corpus's ledger in which clips are skipped.

    A recording is skipped if none of its clips is left; its events and the rows of its label table follow. Where clips
    are ranges, they are counted too, once for all steps that lose some.

    Args:
        corpus: the clips.
        reasons: row -> reason, and cause in one or two words.

    Examples:
        >>> corpus = Corpus.from_columns({"file": ["a.wav", "b.wav"], "seconds": [1.0, 2.0]}, root="sounds")
        >>> with_losses(corpus, {1: ("it is silent", "silent")}).sentence
        '1 of 2 recordings used; 1 skipped: 1 silent'
    """
    files = corpus.column("file")
    left = {file for row, file in enumerate(files) if row not in reasons} if reasons else set(files)
    lost = {files[row]: Entry("recording", files[row], *why) for row, why in reasons.items() if files[row] not in left}
    ledger = corpus.ledger.drop(*lost.values(), *_following(corpus, reasons, set(lost)))
    if len(set(files)) == len(files) and "clip" not in ledger.came:
        return ledger
    names = clip_names(corpus, reasons)
    clips = [Entry("clip", name, *why) for name, why in zip(names, reasons.values(), strict=True)]
    # An earlier step may have counted them; those that came since, by dividing or joining, are new.
    new = max(0, len(files) - ledger.used.get("clip", 0))
    return ledger.add("clip", used=new).drop(*clips)


def _following(corpus: Corpus, reasons: Mapping[int, tuple[str, str]], lost: set[str]) -> list[Entry]:
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


def with_unused(corpus: Corpus, label: str, rows: Iterable[int], lost: Mapping[int, str]) -> Ledger:
    """Return a corpus's ledger without the clips that a task does not use.

    Args:
        corpus: the clips.
        label: column of the labels; clips without a value in it are unlabelled.
        rows: rows of the clips that take part.
        lost: those of them that can't be read -> the reason.
    """
    part = set(rows)
    labels = corpus.column(label) if label in corpus.columns else [""] * len(corpus)
    reasons = {
        row: ("it has no label", "unlabelled") if value is None else ("the task does not use it", "not in the task")
        for row, value in enumerate(labels)
        if row not in part
    }
    return with_losses(corpus, reasons | {row: (why, cause_of(why)) for row, why in lost.items()})
