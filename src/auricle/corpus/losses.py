"""Clips that are lost after a corpus was opened, in its ledger: too short, silent, unlabelled, undecodable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from auricle.corpus.ledger import Entry, Ledger
from auricle.corpus.table import Corpus

# Readers and encoders give their reasons in sentences, which may hold any file's name: whole phrases name the cause.
_CAUSES = (
    ("silent: its peak", "silent"),
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
    clip = corpus[row]
    return clip.file if corpus.is_whole(row) else f"{clip.file} [{clip.start:g} s + {clip.seconds:g} s]"


def cause_of(reason: str) -> str:
    """Return the cause of a reason in one or two words, such as `silent` or `too short`; `corrupt` where none fits."""
    return next((cause for words, cause in _CAUSES if words in reason), "corrupt")


def with_losses(corpus: Corpus, reasons: Mapping[int, tuple[str, str]]) -> Ledger:
    """Return a corpus's ledger in which clips are skipped.

    A recording is skipped if none of its clips is left. Where clips are ranges, they are counted too.

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
    ledger = corpus.ledger.drop(*lost.values())
    if len(set(files)) == len(files):
        return ledger
    clips = [Entry("clip", clip_name(corpus, row), *why) for row, why in reasons.items()]
    return ledger.add("clip", used=len(files) - len(clips), skipped=clips)


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
