"""Tables beside a corpus: events, trials, captions. Invalid rows are refused, or skipped and counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from auricle.config import nearest
from auricle.corpus.readers.label_table import read_csv
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.words import counted

# Tables round to milliseconds and codecs to frames: an event may end this many seconds after its recording.
END_TOLERANCE = 0.05
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
        return any(problem == tidy or problem.endswith(f"/{tidy}") for problem in self.corpus.problems)

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
                f"{table} names {len(unknown)} clips that corpus {self.corpus.name} does not have, such as {shown}; "
                f"fix the names, or open the whole corpus{nearest(unknown[0], self._rows)}"
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
        raise CorpusError(f"{path} calls {len(contrary)} pairs both the same and different; fix its targets")
    if not target[keep].any() or target[keep].all():
        have = f"{int(target[keep].sum())} target and {int((~target[keep]).sum())} non-target trials"
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
    blank = next((i for i in range(len(columns["enroll"])) if None in [columns[c][i] for c in columns]), None)
    if blank is not None:
        raise CorpusError(f"{path}, trial {blank + 1} has an empty value; expected enroll,test,target")
    return columns["enroll"], columns["test"], columns["target"]


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


def tidy_events(table: pa.Table, seconds: Mapping[str, float]) -> tuple[pa.Table, tuple[str, ...]]:
    """Drop invalid events, cut those that end after their recording, and note both.

    Invalid: times that are no numbers, a negative onset, an offset that is not after its onset, an onset at or after
    the recording's end. Events of one class that overlap are kept (two hits of a drum may) and counted.

    Args:
        table: columns `file`, `onset`, `offset`, `label`, and any others.
        seconds: length of recordings, as far as known.

    Returns:
        The valid events, and a note per kind of fault.
    """
    onset, offset, ends = _times(table, seconds)
    bad_number = ~(np.isfinite(onset) & np.isfinite(offset))
    negative = ~bad_number & (onset < 0)
    empty = ~bad_number & ~negative & (offset <= onset)
    outside = ~bad_number & ~negative & ~empty & (onset >= ends)
    out = bad_number | negative | empty | outside
    notes = []
    for fault, why in (
        (bad_number, "a time that is no number"),
        (negative, "a negative onset"),
        (empty, "an offset that is not after the onset"),
        (outside, "an onset after the recording's end"),
    ):
        if fault.any():
            notes.append(f"skipped {int(fault.sum())} of {counted(len(out), 'event')}: {why} ({_first(table, fault)})")
    long = ~out & (offset > ends)
    if (long & (offset > ends + END_TOLERANCE)).any():
        far = long & (offset > ends + END_TOLERANCE)
        notes.append(f"cut at the end of the recording: {counted(int(far.sum()), 'event')} ({_first(table, far)})")
    offset = np.where(long, ends, offset)
    kept = table.set_column(table.column_names.index("offset"), "offset", pa.array(offset, type=pa.float64()))
    kept = kept.filter(pa.array(~out))
    overlapping = int(_overlaps(kept).sum())
    if overlapping:
        notes.append(f"{overlapping} events begin before an earlier one of their class in the same recording has ended")
    return kept, tuple(notes)


def check_events(corpus: Corpus) -> Corpus:
    """Return the corpus with its strong labels tidied (see `tidy_events`), with notes on their faults."""
    if corpus.event_table is None:
        return corpus
    known = zip(corpus.column("file"), corpus.column("seconds"), corpus.column("_whole"), strict=True)
    table, notes = tidy_events(corpus.event_table, {file: length for file, length, whole in known if whole})
    return replace(corpus, event_table=table, notes=(*corpus.notes, *notes))


def _times(
    table: pa.Table, seconds: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    def numbers(name: str) -> NDArray[np.float64]:
        values = table.column(name).to_pylist()
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)

    ends = np.array([seconds.get(file, math.inf) for file in table.column("file").to_pylist()], dtype=np.float64)
    return numbers("onset"), numbers("offset"), ends


def _first(table: pa.Table, fault: NDArray[np.bool_]) -> str:
    row = table.slice(int(np.flatnonzero(fault)[0]), 1).to_pylist()[0]
    return f"the first: {row['label']} in {row['file']}, {row['onset']} to {row['offset']} s"


def _by_class(table: pa.Table) -> NDArray[np.int64]:
    files, labels = (np.asarray(table.column(name).to_pylist(), dtype=str) for name in ("file", "label"))
    onset = np.asarray(table.column("onset").to_pylist(), dtype=np.float64)
    order: NDArray[np.int64] = np.lexsort((onset, labels, files)).astype(np.int64)
    return order


def _overlaps(table: pa.Table) -> NDArray[np.bool_]:
    """Mark events that begin before an earlier one of their class and recording has ended."""
    found = np.zeros(len(table), dtype=bool)
    files, labels = table.column("file").to_pylist(), table.column("label").to_pylist()
    onset, offset = table.column("onset").to_pylist(), table.column("offset").to_pylist()
    key, end = None, 0.0
    for i in _by_class(table):
        if (files[i], labels[i]) != key:
            key, end = (files[i], labels[i]), offset[i]
            continue
        found[i] = onset[i] < end - 1e-9
        end = max(end, offset[i])
    return found
