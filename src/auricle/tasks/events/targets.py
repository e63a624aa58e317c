"""Strong labels of a corpus as clean event lists, and as zeros and ones on a grid of frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from auricle.corpus.ledger import Ledger
from auricle.corpus.readers.event_tables import tidy_events
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.metrics.events import Event, join_overlapping
from auricle.tasks.card import TaskCard
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.targets import Targets
from auricle.words import counted, was


@dataclass(frozen=True)
class EventLists:
    """The events of the n clips of a corpus whose events are annotated.

    Attributes:
        classes: C names, sorted.
        events: of each clip, in the clip's own time, by onset.
        seconds: `(n,)` length of each clip.
        rows: `(n,)` rows of the corpus.
        notes: what was excluded, joined or cut, and why.
    """

    classes: tuple[str, ...]
    events: tuple[tuple[Event, ...], ...]
    seconds: NDArray[np.float64]
    rows: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    def targets(self) -> Targets:
        """Return the classes that occur in each clip, by which clips are assigned to folds."""
        truth = np.zeros((len(self.events), len(self.classes)), dtype=bool)
        for row, events in enumerate(self.events):
            truth[row, [self.classes.index(label) for label in {e[2] for e in events}]] = True
        return Targets("multi", self.classes, self.rows, truth)


def make_events(card: TaskCard, rule: EventsRule, corpus: Corpus) -> EventLists:
    """Read the events of every annotated clip; impossible ones are excluded.

    A recording without a row in the table of events is not annotated: nothing is known of it, so that it is excluded
    and counted, unless `rule.complete_annotation` says that it has no events.

    Events of impossible times are excluded and counted (`corpus.readers.event_tables.tidy_events`). Events of one class
    that overlap in a clip are joined where sounds last: no frame can separate them. Where only onsets count, they
    are kept, and repeated onsets of one class are excluded. Classes with fewer events than `rule.least` are excluded.

    Args:
        card: `label` names the column of the event table.
        rule: settings of the task.
        corpus: its clips.

    Raises:
        CorpusError: no event table, no such column, no event that can be used.
    """
    if corpus.event_table is None:
        raise CorpusError(
            f"corpus {corpus.name} has no events, so task {card.name!r} has nothing to detect; put an events.csv with "
            "the columns file,onset,offset,label beside its recordings, or Raven or Audacity files named as they are"
        )
    table = corpus.event_table
    if card.label not in table.column_names:
        raise CorpusError(
            f"the events of corpus {corpus.name} have no column {card.label!r}; found {', '.join(table.column_names)}; "
            "name another one with --label"
        )
    labels = pa.array([None if v is None else str(v) for v in table.column(card.label).to_pylist()], type=pa.string())
    table = table.set_column(table.column_names.index("label"), "label", labels)
    whole = zip(corpus.column("file"), corpus.column("seconds"), corpus.column("_whole"), strict=True)
    table, dropped, tidied = tidy_events(table, {file: seconds for file, seconds, is_whole in whole if is_whole})
    # Overlaps are counted below, once it is known whether they are joined.
    notes = [note for note in (*corpus.notes, *tidied) if "before an earlier one of the same class" not in note]
    if dropped:
        notes.append(Ledger().add("event", used=len(table), skipped=dropped).sentence)
    timed = table.filter(pc.is_valid(table.column("onset")))
    blank = [i for i, label in enumerate(timed.column("label").to_pylist()) if not label or not label.strip()]
    if blank:
        timed = timed.take(pa.array(np.setdiff1d(np.arange(len(timed)), blank)))
        notes.append(f"{counted(len(blank), 'event')} without a label {was(len(blank))} excluded")
    rows = np.arange(len(corpus), dtype=np.int64)
    if not rule.complete_annotation:
        annotated = corpus.annotated
        rows = np.array([i for i, file in enumerate(corpus.column("file")) if file in annotated], dtype=np.int64)
    if len(rows) < len(corpus):
        notes.append(
            f"{len(corpus) - len(rows)} of {len(corpus)} clips have no row in the table of events: their events are "
            "unknown, and they were excluded; set --complete-annotation if they have none"
        )
    corpus = replace(corpus, event_table=timed).select(rows)
    listed, classes = _by_clip(corpus), {str(x) for x in timed.column("label").to_pylist()}
    rare = {name: count for name, count in _counted(listed, classes).items() if count < rule.least}
    if rare:
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(rare.items()))
        notes.append(f"classes with fewer than {rule.least} events were excluded: {shown}")
        listed = [[e for e in events if e[2] not in rare] for events in listed]
    names = tuple(sorted(classes - rare.keys()))
    if not names or not any(listed):
        said = notes if corpus.ledger.complete else [corpus.ledger.sentence, *notes]
        raise CorpusError(
            f"task {card.name!r} has no usable event: {'; '.join(dict.fromkeys(said)) or 'the event table is empty'}; "
            "correct the table"
        )
    listed, note = _apart(listed, rule)
    silent = sum(not events for events in listed)
    if silent:
        notes.append(f"no events in {silent} of {counted(len(listed), 'clip')}")
    seconds = np.asarray(corpus.column("seconds"), dtype=np.float64)
    unique = tuple(dict.fromkeys([*notes, *note]))
    return EventLists(names, tuple(tuple(sorted(e)) for e in listed), seconds, rows, unique)


def frame_targets(
    events: Sequence[Event], classes: Sequence[str], frames: int, rate: float, *, lasting: bool = True
) -> NDArray[np.float32]:
    """Return zeros and ones on frames, `(frames, C)`.

    A class is active in a frame if one of its events covers at least half of it; a shorter event is active in the frame
    that it covers most of. Where only onsets count, the frame of the onset is active. Events beyond the last frame are
    ignored.

    Args:
        events: of one clip.
        classes: C names.
        frames: of the clip.
        rate: frames a second.
        lasting: False: only onsets count.
    """
    table = np.zeros((frames, len(classes)), dtype=np.float32)
    column = {name: c for c, name in enumerate(classes)}
    for onset, offset, label in events:
        begin, end = onset * rate, offset * rate
        first, last = math.floor(begin + 0.5), math.ceil(end - 0.5)
        if not lasting:
            first, last = math.floor(begin), math.floor(begin) + 1
        elif last <= first:
            # Of the (at most two) frames it touches, the one with the larger part.
            first = math.floor((begin + end) / 2)
            last = first + 1
        table[max(first, 0) : last, column[label]] = 1
    return table


def _by_clip(corpus: Corpus) -> list[list[Event]]:
    found = []
    for row in range(len(corpus)):
        # A cut may leave only the edge of an event.
        cut = ((e.onset, e.offset, e.label) for e in corpus.events_of(row))
        found.append([e for e in cut if e[1] > e[0]])
    return found


def _counted(listed: Sequence[Sequence[Event]], classes: set[str]) -> dict[str, int]:
    counts = dict.fromkeys(classes, 0)
    for events in listed:
        for event in events:
            counts[event[2]] += 1
    return counts


def _apart(listed: list[list[Event]], rule: EventsRule) -> tuple[list[list[Event]], list[str]]:
    """Separate the events of each class in each clip, and count those that were not separate."""
    if rule.sounds == "lasting":
        joined, count = join_overlapping({str(i): events for i, events in enumerate(listed)})
        notes = [
            f"{counted(count, 'event')} {was(count)} joined to an earlier one of its class that overlaps or touches"
        ]
        return [list(joined[str(i)]) for i in range(len(listed))], notes if count else []
    kept = [list({(e[0], e[2]): e for e in sorted(events)}.values()) for events in listed]
    count = sum(map(len, listed)) - sum(map(len, kept))
    return kept, [f"{counted(count, 'repeated onset')} {was(count)} excluded"] if count else []
