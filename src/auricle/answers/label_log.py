"""Labels on disk: one line an event, each with its own sum, each forced to the disk before it counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from auricle.errors import ConfigError, StorageError
from auricle.storage import append_line, sealed, unseal
from auricle.words import counted

NAME = "labels.jsonl"
# How a segment came to be labelled. `held_out` is the random sample that detectors are scored on and never trained on.
Origin = Literal["margin", "similar", "highest", "random", "first", "held_out"]
MOST_CLASSES = 9  # one key each
_BEGIN = b'{"number"'  # of each line
_REMEDY = "free some space; the label was not saved, all earlier ones are"


class Key(NamedTuple):
    """A segment: its recording, and its begin and end there in seconds."""

    file: str
    start: float
    end: float


@dataclass(frozen=True)
class Label:
    """What a person said of a segment.

    Attributes:
        number: of the event; later events count.
        key: the segment.
        classes: which classes are in it, none for background; None: skipped, it could not be decided.
        of: the classes that were asked about; nothing is known of others.
        origin: how the segment was proposed.
        tab: of the browser.
        recording: digest of the recording's content; None: of an earlier version, which knew its name only.
    """

    number: int
    key: Key
    classes: tuple[str, ...] | None
    of: tuple[str, ...]
    origin: Origin
    tab: str
    recording: str | None = None


@dataclass(frozen=True)
class Draw:
    """A segment of the random sample.

    Attributes:
        key: the segment.
        probability: with which it was drawn among those that were left.
        left: how many these were.
        sample: which set of segments it was drawn, see `Segments.sample`; None: not known.
        recording: see `Label`.
    """

    key: Key
    probability: float
    left: int
    sample: str | None = None
    recording: str | None = None


@dataclass
class LabelLog:
    """The events of a label file, and what they add up to; every method may be called from any thread.

    Attributes:
        path: the file; it is made with the first event.
        damage: what was wrong with the file, in words.
        draws: the random sample, in the order in which it was drawn.
    """

    path: Path
    damage: list[str] = field(default_factory=list)
    draws: list[Draw] = field(default_factory=list)
    last: int = 0
    _labels: dict[Key, list[Label]] = field(default_factory=dict)
    _by_number: dict[int, Label] = field(default_factory=dict)
    _read: set[int] = field(default_factory=set)
    _size: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @classmethod
    def open(cls, path: Path) -> LabelLog:
        """Read a label file; damaged lines are skipped, counted and stay in the file.

        Raises:
            StorageError: it can't be read, or no line of it is one of labels.
        """
        log = cls(path)
        if not path.exists():
            return log
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StorageError(f"can't read {path}: {error.strerror}; check that it is a file that you may read") from (
                error
            )
        if content and not any(line.startswith(_BEGIN) for line in content.split(b"\n")):
            raise StorageError(
                f"{path} holds no labels of `auricle label`; expected such a file, or none yet: it was not changed, "
                "name another one with --labels"
            )
        log._size = len(content)
        for number, line in enumerate(content.split(b"\n"), 1):
            if not line:
                continue
            try:
                log._apply(unseal(line.decode()))
            except (ValueError, LookupError, TypeError) as error:
                ended = number <= content.count(b"\n")
                why = f"is damaged ({error})" if ended else "was cut off when the last session was killed"
                log.damage.append(f"line {number} of {path} {why}: skipped")
        missing = log.last - sum(1 for _ in log._read)
        if missing > len(log.damage):
            log.damage.append(f"{path} lacks {counted(missing - len(log.damage), 'line')} that it once had")
        return log

    @property
    def labels(self) -> dict[Key, Label]:
        """The label that counts of each labelled segment: the last one that was not undone."""
        with self._lock:
            return {key: stack[-1] for key, stack in self._labels.items() if stack}

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class that a label asked about, in the order of first use."""
        with self._lock:
            return tuple(dict.fromkeys(name for label in self._by_number.values() for name in label.of))

    def label_of(self, key: Key) -> Label | None:
        """Return the label that counts of a segment, if any."""
        stack = self._labels.get(key)
        return stack[-1] if stack else None

    def latest_of(self, tab: str) -> Label | None:
        """Return the last label of a tab that was not undone."""
        with self._lock:
            mine = [label for stack in self._labels.values() for label in stack if label.tab == tab]
        return max(mine, key=lambda label: label.number, default=None)

    def since(self, number: int) -> Iterator[Label]:
        """Yield the labels after an event that still count."""
        for label in self.labels.values():
            if label.number > number:
                yield label

    def place(self, files: Mapping[str, str]) -> int:
        """Find the recordings of labels and draws by their content, whatever their names were.

        Args:
            files: present name of each recording, by the digest of its content.

        Returns:
            How many labels that counted are of recordings that are not there; they don't count in this session.
        """

        def placed(key: Key, recording: str | None) -> Key | None:
            if recording is None:
                return key
            return key._replace(file=files[recording]) if recording in files else None

        with self._lock:
            before, stacks = len(self.labels), list(self._labels.values())
            self._labels = {}
            for stack in stacks:
                for label in stack:
                    key = placed(label.key, label.recording)
                    if key is not None:
                        found = self._by_number[label.number] = replace(label, key=key)
                        self._labels.setdefault(key, []).append(found)
            for stack in self._labels.values():
                stack.sort(key=lambda label: label.number)
            draws = [(draw, placed(draw.key, draw.recording)) for draw in self.draws]
            self.draws = [replace(draw, key=key) for draw, key in draws if key is not None]
            return before - len(self.labels)

    def label(
        self,
        key: Key,
        classes: tuple[str, ...] | None,
        of: tuple[str, ...],
        origin: Origin,
        tab: str,
        recording: str | None = None,
    ) -> Label:
        """Save a label; it counts when this returns.

        Raises:
            StorageError: it can't be saved.
        """
        said = {"labels": classes, "of": of, "origin": origin, "tab": tab, "recording": recording}
        number = self._append({"event": "label", **key._asdict(), **said})
        return self._by_number[number]

    def draw(
        self, key: Key, probability: float, left: int, sample: str | None = None, recording: str | None = None
    ) -> None:
        """Save that a segment belongs to the random sample, before it is shown.

        Raises:
            StorageError: it can't be saved.
        """
        drawn = {"probability": probability, "left": left, "sample": sample, "recording": recording}
        self._append({"event": "draw", **key._asdict(), **drawn})

    def undo(self, label: Label) -> None:
        """Save that a label does not count; the one before it on the same segment does again.

        Raises:
            StorageError: it can't be saved.
        """
        self._append({"event": "undo", "of": label.number})

    def _append(self, event: Mapping[str, Any]) -> int:
        with self._lock:
            number = self.last + 1
            data = {"number": number, "time": datetime.now(UTC).isoformat(timespec="seconds"), **event}
            size = self.path.stat().st_size if self.path.exists() else 0
            if size != self._size:
                raise StorageError(
                    f"{self.path} was changed by another program ({size} bytes, expected {self._size}); the label was "
                    "not saved. Close the page and start again: what the file holds is read then"
                )
            append_line(self.path, (sealed(data) + "\n").encode(), _whole, _REMEDY)
            self._size = self.path.stat().st_size
            self._apply(data)
            return number

    def _apply(self, event: Mapping[str, Any]) -> None:
        number, kind = int(event["number"]), event["event"]
        if kind == "undo":
            label = self._by_number[int(event["of"])]
            self._labels[label.key] = [each for each in self._labels.get(label.key, []) if each is not label]
        else:
            key = Key(str(event["file"]), float(event["start"]), float(event["end"]))
            recording = event.get("recording")
            if kind == "draw":
                chance, left = float(event["probability"]), int(event["left"])
                self.draws.append(Draw(key, chance, left, event.get("sample"), recording))
            elif kind == "label":
                given = event["labels"]
                classes = None if given is None else tuple(map(str, given))
                of = tuple(map(str, event["of"]))
                origin: Origin = event["origin"] if event["origin"] in get_args(Origin) else "random"
                label = Label(number, key, classes, of, origin, str(event["tab"]), recording)
                self._labels.setdefault(key, []).append(label)
                self._by_number[number] = label
            else:
                raise ValueError(f"it holds an event {kind!r}")
        self._read.add(number)
        self.last = max(self.last, number)


def _whole(line: bytes) -> bool:
    try:
        unseal(line.decode())
    except ValueError:
        return False
    return True


def checked_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes to label, each once.

    Raises:
        ConfigError: there is none, more than nine, or an odd one.
    """
    classes = tuple(dict.fromkeys(name.strip() for name in names))
    if not classes:
        raise ConfigError("no class is named; expected what to label, such as --classes owl")
    if len(classes) > MOST_CLASSES:
        raise ConfigError(
            f"there are {len(classes)} classes ({', '.join(classes)}); expected at most {MOST_CLASSES}, one key each: "
            "label the others with another file (--labels)"
        )
    odd = [name for name in classes if not name or ";" in name or any(ord(sign) < 32 for sign in name)]
    if odd:
        raise ConfigError(f"{odd[0]!r} is no name of a class; expected text without semicolons and control characters")
    return classes
