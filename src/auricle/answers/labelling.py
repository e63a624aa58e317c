"""Labelling a library: what is proposed, what detectors learn of the labels, and how good they are. No web here."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auricle.answers.label_estimate import Estimate, draw_probabilities, draw_weights, estimate
from auricle.answers.label_fit import Detectors, Scale, fit_detectors
from auricle.answers.label_log import Draw, Label, LabelLog, Origin, checked_classes
from auricle.answers.label_segments import HELD_OUT, Segments
from auricle.answers.library import Library
from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.words import counted

Way = Literal["margin", "similar", "highest", "random"]
THRESHOLD = 0.5
# Detectors are fitted after each of the first labels, then after every so many.
FIRST, EVERY = 5, 10


@dataclass(frozen=True)
class Proposal:
    """A segment to label.

    Attributes:
        row: of the library's segments.
        origin: why it was proposed.
    """

    row: int
    origin: Origin


@dataclass(frozen=True)
class Ranked:
    """A segment among those of highest score."""

    row: int
    score: float
    label: Label | None


class Labelling:
    """A labelling of a library by one or more tabs of a browser; every method may be called from any thread.

    Args:
        library: the library.
        log: labels so far, and where new ones are saved.
        classes: names, at most nine; classes of the log are there anyway.
        first: ids of rows to label first.

    Attributes:
        segments: of the library.
        classes: every class that is asked about.
        notes: what a user should know of the beginning, in words.
        detectors: what the last fit found; None before the first.

    Raises:
        ConfigError: no class or too many, an odd name, or a row that the library does not have.
    """

    def __init__(self, library: Library, log: LabelLog, classes: Sequence[str] = (), first: Sequence[int] = ()) -> None:
        self.library, self.log = library, log
        self.classes = checked_classes([*log.classes, *classes])
        self.segments = Segments(library)
        self.notes = list(log.damage)
        self.detectors: Detectors | None = None
        self._lock, self._fitting = threading.RLock(), threading.Lock()
        self._scale: Scale | None = None
        self._shown: dict[str, int] = {}
        self._near = np.zeros(len(self.segments), dtype=bool)
        known = len(log.labels)
        gone = log.place(self.segments.recordings)
        unknown = [key for key in log.labels if self.segments.row(key) is None]
        lost = gone + len(unknown)
        if lost and lost == known:
            raise ConfigError(
                f"none of the {lost} labelled segments of {log.path} is in the library {library.folder}; "
                "expected labels of its own recordings and segment length; name another file with --labels"
            )
        if lost:
            self.notes.append(f"{lost} of {known} labelled segments are not in this library: not used")
        if earlier := len(log.draws) - len(self.draws):
            self.notes.append(
                f"the library has changed since {counted(earlier, 'segment')} of the random sample were drawn: a new "
                "sample is begun, and labels of the earlier one count where their segments are drawn again"
            )
        self._first = self._rows_of(first)
        for key in log.labels:
            self._near[self.segments.overlapping(key)] = True
        if not self.segments.held_out.any():
            self.notes.append(f"none of the {len(self.segments)} segments is held out: detectors can't be scored")

    def _rows_of(self, ids: Sequence[int]) -> list[int]:
        rows = []
        for number in ids:
            row = self.segments.row_of_id(number)
            if row is None:
                raise ConfigError(
                    f"the library {self.library.folder} has no row {number}, which --first names; expected ids of "
                    "rows: `auricle search` lists them"
                )
            rows.append(row)
        usable = [row for row in rows if self.segments.trainable[row]]
        if len(usable) < len(rows):
            self.notes.append(
                f"{len(rows) - len(usable)} of {len(rows)} rows of --first are held out (or share sound with such "
                "rows): they are not shown first, and never trained on"
            )
        return usable

    @property
    def draws(self) -> list[Draw]:
        """The random sample of the library as it is, in the order in which it was drawn."""
        return [draw for draw in self.log.draws if draw.sample == self.segments.sample]

    # Proposals

    def propose(self, way: Way, name: str, tab: str) -> Proposal | None:
        """Choose the next segment for a tab; None: everything is labelled.

        One of five comes from the random sample, whatever the way. Segments that share sound with a labelled one are
        not proposed.

        Args:
            way: `margin` (nearest to the detector's threshold), `similar` (to the last one of the class), `highest`
                (score) or `random`; where there is nothing to go by yet, random.
            name: of the class.
            tab: that asks.

        Raises:
            StorageError: a draw can't be saved.
        """
        with self._lock:
            self._shown.pop(tab, None)
            proposal = self._sampled(name) or self._of_first() or self._chosen(way, name) or self._sampled(name, True)
            if proposal is not None:
                self._shown[tab] = proposal.row
            return proposal

    def _free(self, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        free = rows.copy()
        free[list(self._shown.values())] = False
        return np.flatnonzero(free)

    def _sampled(self, name: str, at_once: bool = False) -> Proposal | None:
        labels, busy = self.log.labels, set(self._shown.values())
        rows = {draw.key: self.segments.row(draw.key) for draw in self.draws}
        waiting = [row for key, row in rows.items() if row is not None and key not in labels and row not in busy]
        taken = sum(key in labels or row in busy for key, row in rows.items())
        if not at_once and taken >= int(HELD_OUT * (len(labels) + len(busy) + 1)):
            return None
        # A drawn segment that nobody labelled stays drawn: leaving hard ones out would flatter the detector.
        if waiting:
            return Proposal(min(waiting), "held_out")
        left = self.segments.held_out.copy()
        left[[row for row in rows.values() if row is not None]] = False
        scores = self.detectors.scores.get(name) if self.detectors else None
        while len(candidates := np.flatnonzero(left)):
            detected = np.zeros(len(candidates), dtype=bool) if scores is None else scores[candidates] >= THRESHOLD
            chances = draw_probabilities(detected)
            generator = np.random.default_rng([0, len(self.log.draws)])
            place = int(generator.choice(len(candidates), p=chances / chances.sum()))
            row = int(candidates[place])
            key = self.segments.key(row)
            content = self.segments.content(key)
            self.log.draw(key, float(chances[place]), len(candidates), self.segments.sample, content)
            if key not in labels:
                return Proposal(row, "held_out")
            # Labelled before, as one of the ranking: the draw counts, and another one is shown.
            left[row] = False
        return None

    def _of_first(self) -> Proposal | None:
        busy = set(self._shown.values())
        self._first = [row for row in self._first if self.log.label_of(self.segments.key(row)) is None]
        return next((Proposal(row, "first") for row in self._first if row not in busy), None)

    def _chosen(self, way: Way, name: str) -> Proposal | None:
        free = self._free(self.segments.trainable & ~self._near)
        if not len(free):
            return None
        scores = self.detectors.scores.get(name) if self.detectors else None
        if way == "margin" and scores is not None:
            return Proposal(int(free[np.abs(scores[free] - THRESHOLD).argmin()]), "margin")
        if way == "highest" and scores is not None:
            return Proposal(int(free[scores[free].argmax()]), "highest")
        if way == "similar" and (row := self._most_similar(name, free)) is not None:
            return Proposal(row, "similar")
        return Proposal(int(np.random.default_rng([1, self.log.last]).choice(free)), "random")

    def _most_similar(self, name: str, free: NDArray[np.int64]) -> int | None:
        labels = [each for each in self.log.labels.values() if each.classes and name in each.classes]
        rows = [self.segments.row(each.key) for each in sorted(labels, key=lambda label: -label.number)]
        known = next((row for row in rows if row is not None and self.segments.trainable[row]), None)
        if known is None:
            return None
        vector = self.library.vectors([int(self.segments.ids[known])])[0].astype(np.float32)
        ids, top = self.segments.ids[free], 100
        while True:
            found = self.library.search(vector, min(top, len(self.segments))).column("id").to_numpy()
            fitting = found[np.isin(found, ids)]
            if len(fitting):
                return int(np.searchsorted(self.segments.ids, fitting[0]))
            if top >= len(self.segments):
                return None
            top *= 10

    # Labels

    def label(self, row: int, classes: Sequence[str] | None, origin: Origin, tab: str) -> tuple[Label, Label | None]:
        """Save what was said of a segment; return the label, and the one that it replaces.

        Args:
            row: of the segments.
            classes: that are there, none for background; None: skipped.
            origin: how it was proposed.
            tab: that says so.

        Raises:
            ConfigError: there is no such class.
            StorageError: it can't be saved; nothing changed.
        """
        unknown = [name for name in classes or () if name not in self.classes]
        if unknown:
            raise ConfigError(f"there is no class {unknown[0]!r}{nearest(unknown[0], self.classes)}")
        with self._lock:
            key = self.segments.key(row)
            before = self.log.label_of(key)
            given = None if classes is None else tuple(name for name in self.classes if name in classes)
            label = self.log.label(key, given, self.classes, origin, tab, self.segments.content(key))
            self._near[self.segments.overlapping(key)] = True
            self._shown.pop(tab, None)
            return label, before

    def undo(self, tab: str) -> Label | None:
        """Take back the last label of a tab and return it; None: there is none.

        Raises:
            StorageError: it can't be saved; nothing changed.
        """
        with self._lock:
            label = self.log.latest_of(tab)
            if label is None:
                return None
            self.log.undo(label)
            self._near[:] = False
            for key in self.log.labels:
                self._near[self.segments.overlapping(key)] = True
            row = self.segments.row(label.key)
            if row is not None:
                self._shown[tab] = row
            return label

    # Detectors

    @property
    def due(self) -> bool:
        """Whether detectors should be fitted now: after each of the first five labels, then after every ten."""
        count = len(self.log.labels)
        return 0 < count <= FIRST or (count > 0 and count % EVERY == 0)

    def missing(self, name: str) -> str | None:
        """Say which labels a class lacks for a detector; None: it has what it takes."""
        _, truth = self._examples(name)
        kinds = {f"with {name}": truth.any(), f"without {name}": not truth.all() and len(truth)}
        lacking = [kind for kind, there in kinds.items() if not there]
        return f"label one segment {' and one '.join(lacking)} first" if lacking else None

    def fit(self) -> Detectors:
        """Fit detectors to all labels outside the random sample and score the library.

        A class takes one label with it and one without; others have no detector.
        """
        with self._fitting:
            with self._lock:
                last = self.log.last
                examples = {name: self._examples(name) for name in self.classes if self.missing(name) is None}
            ids = {name: (self.segments.ids[rows], truth) for name, (rows, truth) in examples.items()}
            if ids and self._scale is None:
                self._scale = Scale.of(self.library, self.segments.ids)
            found = Detectors({}, {}, {}, last, 0.0)
            if ids and self._scale is not None:
                found = fit_detectors(self.library, self.segments.ids, self._scale, ids, last)
            self.detectors = found
            return found

    def _examples(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the rows whose labels say whether a class is there, and whether it is: never those of the sample."""
        rows, truth = [], []
        drawn = {draw.key for draw in self.log.draws}
        for label in self.log.labels.values():
            if label.key in drawn:
                continue
            row = self.segments.row(label.key)
            if label.classes is not None and name in label.of and row is not None and self.segments.trainable[row]:
                rows.append(row)
                truth.append(name in label.classes)
        return np.array(rows, dtype=np.int64), np.array(truth, dtype=bool)

    def ranking(self, name: str, top: int) -> list[Ranked]:
        """Return the segments of highest score, labelled ones too."""
        scores = self.detectors.scores.get(name) if self.detectors else None
        if scores is None:
            return []
        part = np.argpartition(-scores, min(top, len(scores) - 1))[:top]
        rows = part[np.argsort(-scores[part], kind="stable")]
        with self._lock:
            return [Ranked(int(row), float(scores[row]), self.log.label_of(self.segments.key(row))) for row in rows]

    def detections(self, name: str, threshold: float = THRESHOLD) -> int | None:
        """Return how many segments score at least the threshold; None: there is no detector."""
        scores = self.detectors.scores.get(name) if self.detectors else None
        return None if scores is None else int((scores >= threshold).sum())

    def estimate(self, name: str, threshold: float = THRESHOLD) -> Estimate | None:
        """Score the detector of a class on the random sample; None: there is no detector."""
        scores = self.detectors.scores.get(name) if self.detectors else None
        if scores is None:
            return None
        with self._lock:
            labels, draws = self.log.labels, self.draws
            placed: Iterable[tuple[Draw, int | None]] = [(draw, self.segments.row(draw.key)) for draw in draws]
        answered = [(draw, row, labels[draw.key]) for draw, row in placed if row is not None and draw.key in labels]
        weights = draw_weights([draw for draw, _, _ in answered], int(self.segments.held_out.sum()))
        known = [(w, row, label) for w, (_, row, label) in zip(weights, answered, strict=True) if name in label.of]
        decided = [(w, row, label.classes) for w, row, label in known if label.classes is not None]
        rows = np.array([row for _, row, _ in decided], dtype=np.int64)
        truth = np.array([name in classes for _, _, classes in decided], dtype=bool)
        return estimate(
            np.array([w for w, _, _ in decided]), truth, scores[rows] >= threshold, skipped=len(known) - len(decided)
        )
