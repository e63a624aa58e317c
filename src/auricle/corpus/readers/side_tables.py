"""Tables beside a corpus: trials, captions. Invalid rows are refused, or skipped and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auricle.config import nearest
from auricle.corpus.readers.text_table import read_csv
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.words import counted

CAPTIONS = "captions.csv"
_TRUE, _FALSE = ("1", "true", "target", "same", "yes"), ("0", "false", "nontarget", "non-target", "different", "no")


@dataclass(frozen=True)
class Trials:
    """Pairs of clips, with whether both are of the same speaker (animal, machine).

    Attributes:
        enroll: `(n,)` rows of the corpus.
        test: `(n,)` rows of the corpus.
        target: `(n,)` bool, same or not.
        notes: skipped trials and the reason.
    """

    enroll: NDArray[np.int64]
    test: NDArray[np.int64]
    target: NDArray[np.bool_]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Captions:
    """Captions of clips.

    Attributes:
        rows: `(n,)` rows of the corpus; a clip with several captions occurs several times.
        texts: n captions.
        notes: skipped captions and the reason.
    """

    rows: NDArray[np.int64]
    texts: tuple[str, ...]
    notes: tuple[str, ...] = ()


class ClipNames:
    """Finds the clip of a name in a table: by the whole name, or by a unique end of it.

    Publishers write names relative to their own folders (`id10270/x/1.wav` for `wav/id10270/x/1.wav`).
    """

    def __init__(self, corpus: Corpus) -> None:
        """Index a corpus of whole recordings; of several clips of one recording, the first is found."""
        self.corpus = corpus
        self._rows: dict[str, int] = {}
        self._skipped = corpus.ledger.reasons()
        for row, name in enumerate(corpus.column("file")):
            self._rows.setdefault(name, row)
        self._ends: dict[str, int | None] = {}
        for name, row in self._rows.items():
            _, _, end = name.partition("/")
            while end:
                self._ends[end] = row if self._ends.get(end, row) == row else None
                _, _, end = end.partition("/")

    def find(self, name: str) -> int | None:
        """Return the row of a clip, or None."""
        tidy = name.strip().replace("\\", "/").removeprefix("./")
        row = self._rows.get(tidy)
        return row if row is not None else self._ends.get(tidy)

    def skipped(self, name: str) -> bool:
        """Return whether a recording of this name was skipped when the corpus was opened."""
        tidy = name.strip().replace("\\", "/").removeprefix("./")
        return any(known == tidy or known.endswith(f"/{tidy}") for known in self._skipped)

    def rows(self, names: Sequence[str], table: Path) -> tuple[NDArray[np.int64], int]:
        """Find many clips.

        Args:
            names: from the table.
            table: path for messages.

        Returns:
            `(n,)` row of each, -1 for recordings that were skipped when the corpus was opened; the number of those.

        Raises:
            CorpusError: a name is unknown.
        """
        known = {name: self.find(name) for name in dict.fromkeys(names)}
        unknown = [name for name, row in known.items() if row is None and not self.skipped(name)]
        if unknown:
            shown = ", ".join(repr(name) for name in unknown[:3])
            raise CorpusError(
                f"{table} names {counted(len(unknown), 'clip')} that corpus {self.corpus.name} does not have, such as "
                f"{shown}; fix the names, or open the whole corpus{nearest(unknown[0], self._rows)}"
            )
        found = [known[name] for name in names]
        rows = np.array([-1 if row is None else row for row in found], dtype=np.int64)
        return rows, int((rows < 0).sum())


def read_trials(path: Path | str, corpus: Corpus) -> Trials:
    """Read verification trials: a CSV with the columns `enroll,test,target`, or VoxCeleb's lines `1 enroll test`.

    Trials of skipped recordings, of a clip with itself, and repeated ones are skipped and counted.

    Args:
        path: the table.
        corpus: corpus of the clips.

    Raises:
        CorpusError: the table can't be read, names unknown clips, has another target than 0 or 1, or has no target
            or no non-target trial left.
    """
    path = Path(path)
    enroll_names, test_names, texts = _trial_columns(path)
    targets = []
    for line, text in enumerate(texts):
        if text.lower() not in _TRUE + _FALSE:
            raise CorpusError(f"{path}, trial {line + 1}: target is {text!r}; expected 1 (same) or 0 (different)")
        targets.append(text.lower() in _TRUE)
    names = ClipNames(corpus)
    rows, _ = names.rows([*enroll_names, *test_names], path)
    enroll, test = rows[: len(targets)], rows[len(targets) :]
    target = np.array(targets, dtype=bool)
    gone, itself = (enroll < 0) | (test < 0), enroll == test
    _, first = np.unique(np.stack([enroll, test, target]), axis=1, return_index=True)
    repeated = np.ones(len(target), dtype=bool)
    repeated[first] = False
    notes = []
    for count, why in (
        (int(gone.sum()), "one of the two recordings could not be opened"),
        (int((itself & ~gone).sum()), "a clip with itself"),
        (int((repeated & ~gone & ~itself).sum()), "they occur twice"),
    ):
        if count:
            notes.append(f"skipped {count} of {counted(len(target), 'trial')} of {path.name}: {why}")
    keep = ~(gone | itself | repeated)
    contrary = {(a, b) for a, b, t in zip(enroll[keep], test[keep], target[keep], strict=True) if t} & {
        (a, b) for a, b, t in zip(enroll[keep], test[keep], target[keep], strict=True) if not t
    }
    if contrary:
        raise CorpusError(f"{path} calls {counted(len(contrary), 'pair')} both the same and different; fix its targets")
    if not target[keep].any() or target[keep].all():
        have = f"{int(target[keep].sum())} target and {counted(int((~target[keep]).sum()), 'non-target trial')}"
        raise CorpusError(f"{path} has {have}; verification needs some of both")
    return Trials(enroll[keep], test[keep], target[keep], tuple(notes))


def _trial_columns(path: Path) -> tuple[list[str], list[str], list[str]]:
    if path.suffix.lower() == ".txt":
        try:
            lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"{path} can't be read as trials: {error}") from error
        if not lines or any(len(line) != 3 for line in lines):
            raise CorpusError(f"{path} is no list of trials; expected lines such as `1 enroll.wav test.wav`")
        return [line[1] for line in lines], [line[2] for line in lines], [line[0] for line in lines]
    columns = read_csv(path)
    for needed in ("enroll", "test", "target"):
        if needed not in columns:
            raise CorpusError(f"{path} has no column {needed!r}; found {', '.join(columns)}")
    enroll, test, target = ([text or "" for text in columns[name]] for name in ("enroll", "test", "target"))
    blank = next((i for i, trial in enumerate(zip(enroll, test, target, strict=True)) if "" in trial), None)
    if blank is not None:
        raise CorpusError(f"{path}, trial {blank + 1} has an empty value; expected enroll,test,target")
    return enroll, test, target


def read_captions(path: Path | str, corpus: Corpus, columns: Sequence[str] = ()) -> Captions:
    """Read captions: a CSV with the column `file` and one or more columns of text.

    Args:
        path: the table.
        corpus: corpus of the clips.
        columns: columns of captions; by default all whose name begins or ends with `caption`.

    Raises:
        CorpusError: the table can't be read, has no captions, or names unknown clips.
    """
    path = Path(path)
    table = read_csv(path)
    wanted = list(columns) or [name for name in table if name.startswith("caption") or name.endswith("caption")]
    missing = [name for name in ("file", *wanted) if name not in table]
    if missing or not wanted:
        raise CorpusError(
            f"{path} has no column {missing[0] if missing else 'caption'!r}; found {', '.join(table)}, expected file "
            "and one or more columns of captions"
        )
    files = [name or "" for name in table["file"]]
    rows, gone = ClipNames(corpus).rows(files, path)
    pairs = [(row, table[name][i]) for i, row in enumerate(rows) if row >= 0 for name in wanted]
    kept = [(row, text.strip()) for row, text in pairs if text and text.strip()]
    notes = []
    if gone:
        notes.append(f"captions of {counted(gone, 'recording')} that could not be opened were skipped")
    if len(kept) < len(pairs):
        notes.append(f"skipped {counted(len(pairs) - len(kept), 'empty caption')} of {path.name}")
    if not kept:
        raise CorpusError(f"{path} has no caption for any clip of corpus {corpus.name}")
    return Captions(np.array([row for row, _ in kept], dtype=np.int64), tuple(t for _, t in kept), tuple(notes))
