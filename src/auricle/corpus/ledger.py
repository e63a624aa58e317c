"""The account of everything that goes into a corpus: each thing is used, or skipped with a reason.

Things are of several kinds: recordings, rows of a label table, events, members of a shard, other files, labels, clips.
Of each kind the ledger counts what came in and what is used, and names only what is not used, or not used as it is: a
corpus of millions of sound recordings costs a few counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from rich.markup import escape
from rich.table import Table

from auricle.errors import Reason
from auricle.storage import disk_errors, write_atomic
from auricle.words import plural

Kind = Literal["recording", "row", "event", "member", "label", "file", "clip", "window"]
KINDS: tuple[str, ...] = get_args(Kind)
# A row or event whose recording is skipped is explained by the recording: sentences do not say it twice.
FOLLOWS = "of skipped recordings"
SUFFIX = ".ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing, or several alike, that was skipped or changed.

    Attributes:
        kind: of thing.
        name: of the recording, member, file, or the table and its line.
        reason: one sentence.
        cause: the reason in one or two words, by which entries are counted: `missing`, `corrupt`.
        count: number of things.
        used: used all the same, but not as it is (a remark); False: skipped.
    """

    kind: Kind
    name: str
    reason: str
    cause: str = "corrupt"
    count: int = 1
    used: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON-ready data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True)
class Ledger:
    """What came in, what of it is used, and why the rest is not. Frozen: every change is a new ledger.

    Attributes:
        came: kind -> number of things that came in.
        used: kind -> number of things that are used.
        entries: what was skipped, and remarks.

    Raises:
        ValueError: a kind does not add up: what came in is not what is used and what is explained.

    Examples:
        >>> ledger = Ledger().add("recording", used=3, skipped=[Entry("recording", "d.wav", "it is empty")])
        >>> ledger.sentence
        '3 of 4 recordings used; 1 skipped: 1 corrupt'
        >>> ledger.drop(Entry("recording", "a.wav", "it is silent", "silent")).sentence
        '2 of 4 recordings used; 2 skipped: 1 corrupt, 1 silent'
        >>> ledger.drop(Entry("recording", "a.wav", "it is silent", "silent", used=True)).sentence
        '3 of 4 recordings used (1 silent); 1 skipped: 1 corrupt'
    """

    came: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        explained: Counter[str] = Counter()
        for entry in self.entries:
            explained[entry.kind] += 0 if entry.used else entry.count
        for kind in {*self.came, *self.used, *explained}:
            came, used = self.came.get(kind, 0), self.used.get(kind, 0)
            if kind not in KINDS or used < 0 or came != used + explained[kind]:
                raise ValueError(f"{came} {kind}s came in, but {used} are used and {explained[kind]} explained")

    def add(self, kind: Kind, *, used: int = 0, skipped: Iterable[Entry] = ()) -> Ledger:
        """Return a ledger with more things that came in: some used, the others skipped."""
        entries = tuple(skipped)
        came = used + sum(entry.count for entry in entries if not entry.used)
        return Ledger(_plus(self.came, {kind: came}), _plus(self.used, {kind: used}), (*self.entries, *entries))

    def drop(self, *lost: Entry) -> Ledger:
        """Return a ledger in which things that were used are skipped, or (with `used`) have a remark.

        A thing has one remark of a cause, the last; one that is skipped has none.
        """
        if not lost:
            return self
        less: Counter[str] = Counter()
        for entry in lost:
            less[entry.kind] -= 0 if entry.used else entry.count
        gone = {(entry.kind, entry.name) for entry in lost if not entry.used}
        said = {(entry.kind, entry.name, entry.cause) for entry in lost if entry.used}
        kept = (
            entry
            for entry in self.entries
            if not entry.used
            or ((entry.kind, entry.name) not in gone and (entry.kind, entry.name, entry.cause) not in said)
        )
        return replace(self, used=_plus(self.used, less), entries=(*kept, *lost))

    def merge(self, other: Ledger, prefix: str = "") -> Ledger:
        """Return the sum of two ledgers.

        Args:
            other: the second one.
            prefix: put before its names (`dogs/`).
        """
        theirs = (replace(entry, name=prefix + entry.name) for entry in other.entries) if prefix else other.entries
        return Ledger(_plus(self.came, other.came), _plus(self.used, other.used), (*self.entries, *theirs))

    def skipped(self, kind: str) -> list[Entry]:
        """Return what was skipped of a kind."""
        return [entry for entry in self.entries if entry.kind == kind and not entry.used]

    def reasons(self, kind: str = "recording") -> dict[str, str]:
        """Return the names that were skipped of a kind -> the reason."""
        return {entry.name: entry.reason for entry in self.skipped(kind)}

    @property
    def complete(self) -> bool:
        """Whether all recordings, rows, events, members, labels and clips are used as they are."""
        return all(entry.kind == "file" for entry in self.entries)

    @property
    def sentence(self) -> str:
        """The account in words: recordings always, other kinds where some were skipped or have a remark."""
        own = {entry.kind for entry in self.entries if entry.cause != FOLLOWS} - {"file"}
        own |= {"recording"} if self.came.get("recording") else set()
        return ". ".join(self._of(kind) for kind in KINDS if kind in own) or "nothing came in"

    def _of(self, kind: str) -> str:
        causes: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        for entry in self.entries:
            if entry.kind == kind:
                causes[entry.used][entry.cause] += entry.count
        came = self.came.get(kind, 0)
        text = f"{self.used.get(kind, 0):,} of {came:,} {kind if came == 1 else plural(kind)} used"
        remarks = f" ({_counted(causes[True])})" if causes[True] else ""
        skipped = f"; {causes[False].total():,} skipped: {_counted(causes[False])}" if causes[False] else ""
        return text + remarks + skipped

    def table(self, longest: int = 20) -> Table:
        """Return a table for the terminal: what was skipped or has a remark, cut off after `longest` lines."""
        listed = [entry for entry in self.entries if entry.cause != FOLLOWS]
        table = Table(title=f"skipped, or not used as it is ({sum(entry.count for entry in listed):,})")
        for name in ("kind", "name", "reason"):
            table.add_column(name, overflow="fold")
        for entry in listed[:longest]:
            kind = entry.kind if entry.count == 1 else f"{entry.count:,} {plural(entry.kind)}"
            table.add_row(kind, one_line(entry.name), escape(entry.reason))
        if len(listed) > longest:
            table.add_row("...", f"and {len(listed) - longest:,} more", "all are in the list beside the output")
        return table

    def to_json(self) -> dict[str, Any]:
        """Return the ledger as JSON-ready data."""
        about = {"came": dict(self.came), "used": dict(self.used)}
        return {**about, "entries": [entry.to_json() for entry in self.entries]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ledger:
        """Rebuild from `to_json`'s data.

        Raises:
            ValueError: the data is none, or does not add up.
        """
        try:
            return cls(dict(data["came"]), dict(data["used"]), tuple(Entry(**entry) for entry in data["entries"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is no ledger: {error!r}") from error

    def write(self, path: Path, **made: Any) -> Path:
        """Write the list for programs: JSON lines, first the sentence and the counts, then one line per entry.

        A list that an earlier version wrote for `x.csv` under the name of `x` is deleted: it would contradict this one.

        Args:
            path: the file.
            made: what the output beside it was made of, for the first line (see `read_made`).

        Raises:
            StorageError: the file can't be written.
        """
        head = {"sentence": self.sentence, "came": dict(self.came), "used": dict(self.used), **made}
        lines = [head, *(entry.to_json() for entry in self.entries)]
        write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        output = path.with_name(path.name.removesuffix(SUFFIX))
        earlier = output.with_name(output.stem + SUFFIX)
        if earlier != path != output and not output.with_name(output.stem).exists() and "came" in _head(earlier):
            with disk_errors(earlier):
                earlier.unlink(missing_ok=True)
        return path


def beside(output: Path) -> Path:
    """Return the path of the list beside an output: `ledger.jsonl` in a folder, `x.csv.ledger.jsonl` for `x.csv`."""
    return output / SUFFIX[1:] if output.is_dir() else output.with_name(output.name + SUFFIX)


def read_made(output: Path) -> dict[str, Any]:
    """Return the first line of the list beside an output; `{}` where there is none, or a damaged one."""
    return _head(beside(output))


def _head(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            return dict(json.loads(file.readline()))
    except (OSError, ValueError, TypeError):
        return {}


def noted(file: str, notes: Iterable[Reason]) -> list[Entry]:
    """Return the remarks on a recording that is used all the same: one for each cause."""
    causes: dict[str, list[Reason]] = {}
    for note in notes:
        causes.setdefault(note.cause, []).append(note)
    return [Entry("recording", file, "; ".join(said), cause, used=True) for cause, said in causes.items()]


def one_line(name: str) -> str:
    """Escape control characters, such as line breaks, in a name for the terminal."""
    return escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name))


def _plus(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {kind: first.get(kind, 0) + second.get(kind, 0) for kind in (*first, *(k for k in second if k not in first))}


def _counted(causes: Counter[str]) -> str:
    return ", ".join(f"{count:,} {cause}" for cause, count in causes.most_common())
