"""What the page of `auricle label` shows and does, as data; no web here."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, get_args

from auricle.answers.label_estimate import Share
from auricle.answers.label_log import Label, Origin
from auricle.answers.label_segments import Sound, read_sound
from auricle.answers.labelling import Labelling, Proposal, Ranked, Way
from auricle.errors import AudioError, ConfigError

Asked = dict[str, Any]
_KEPT = 16  # sounds in memory: the one that is shown, its neighbours, and those of further tabs
_TOP = 12


class LabelView:
    """Answers of the page's server: what is asked and what is answered is JSON-ready.

    Args:
        labelling: of the library.
        context: seconds shown before and after a segment.
        export: writes the labels, and returns what to say of it.

    Attributes:
        gets: what reads, by name.
        posts: what changes something, by name.
    """

    def __init__(self, labelling: Labelling, context: float, export: Callable[[], list[str]]) -> None:
        self._labelling, self._context, self._export = labelling, context, export
        self._sounds: OrderedDict[int, Sound] = OrderedDict()
        self._lock = threading.Lock()
        self.gets = {"state": self._state, "next": self._next, "segment": self._segment}
        self.posts = {"label": self._label, "undo": self._undo, "fit": self._fit, "export": self._exported}

    def sound(self, row: object) -> Sound:
        """Return the sound of a segment; the last ones are kept.

        Raises:
            ConfigError: there is no such segment.
            AudioError: the recording is missing or broken.
        """
        number = self._row({"row": row})
        with self._lock:
            if number not in self._sounds:
                found = read_sound(self._labelling.library, int(self._labelling.segments.ids[number]), self._context)
                self._sounds[number] = found
                if len(self._sounds) > _KEPT:
                    self._sounds.popitem(last=False)
            self._sounds.move_to_end(number)
            return self._sounds[number]

    def _state(self, asked: Asked) -> dict[str, Any]:
        labelling, tab, since = self._labelling, _text(asked, "tab"), _whole(asked, "since", -1)
        name, threshold = self._class(asked), _number(asked, "threshold", 0.5)
        labels = list(labelling.log.labels.values())
        drawn = {draw.key for draw in labelling.draws}
        counts = {each: sum(each in (label.classes or ()) for label in labels) for each in labelling.classes}
        others = [label for label in labelling.log.since(since) if label.tab != tab] if since >= 0 else []
        return {
            "library": labelling.library.folder.name,
            "file": str(labelling.log.path),
            "segments": len(labelling.segments),
            "held_out": int(labelling.segments.held_out.sum()),
            "classes": list(labelling.classes),
            "notes": labelling.notes,
            "last": labelling.log.last,
            "labels": len(labels),
            "sampled": sum(label.key in drawn for label in labels),
            "background": sum(label.classes == () for label in labels),
            "skipped": sum(label.classes is None for label in labels),
            "counts": counts,
            "others": [self._said(label) for label in others],
            "detector": self._detector(name, threshold),
            "ranking": [self._ranked(each) for each in labelling.ranking(name, _TOP)],
        }

    def _detector(self, name: str, threshold: float) -> dict[str, Any]:
        labelling = self._labelling
        found, scored = labelling.detectors, labelling.estimate(name, threshold)
        if found is None or scored is None or name not in found.positives:
            return {"fitted": False, "missing": labelling.missing(name)}
        return {
            "fitted": True,
            "labels": found.labels,
            "positives": found.positives[name],
            "negatives": found.negatives[name],
            "seconds": found.seconds,
            "detections": labelling.detections(name, threshold),
            "precision": _share(scored.precision),
            "recall": _share(scored.recall),
            "prevalence": _share(scored.prevalence),
            "drawn": scored.drawn,
            "skipped": scored.skipped,
        }

    def _next(self, asked: Asked) -> dict[str, Any]:
        way: Way = _choice(asked, "way", get_args(Way))
        found = self._labelling.propose(way, self._class(asked), _text(asked, "tab"))
        return {"segment": None if found is None else self._shown(found)}

    def _segment(self, asked: Asked) -> dict[str, Any]:
        return {"segment": self._shown(Proposal(self._row(asked), "highest"))}

    def _label(self, asked: Asked) -> dict[str, Any]:
        given = asked.get("labels")
        if given is not None and not (isinstance(given, list) and all(isinstance(each, str) for each in given)):
            raise ConfigError("labels are neither a list of classes nor null")
        origin: Origin = _choice(asked, "origin", get_args(Origin))
        tab, seen = _text(asked, "tab"), _whole(asked, "seen", 0)
        label, before = self._labelling.label(self._row(asked), given, origin, tab)
        replaced = self._said(before) if before is not None and before.number > seen and before.tab != tab else None
        return {"number": label.number, "replaced": replaced, "due": self._labelling.due}

    def _undo(self, asked: Asked) -> dict[str, Any]:
        label = self._labelling.undo(_text(asked, "tab"))
        row = None if label is None else self._labelling.segments.row(label.key)
        if label is None or row is None:
            return {"segment": None}
        return {"segment": self._shown(Proposal(row, label.origin))}

    def _fit(self, asked: Asked) -> dict[str, Any]:
        self._labelling.fit()
        return self._state(asked)

    def _exported(self, asked: Asked) -> dict[str, Any]:
        return {"lines": self._export()}

    def _shown(self, proposal: Proposal) -> dict[str, Any]:
        segments, detectors = self._labelling.segments, self._labelling.detectors
        key = segments.key(proposal.row)
        label = self._labelling.log.label_of(key)
        scores = {} if detectors is None else {n: float(s[proposal.row]) for n, s in detectors.scores.items()}
        about = {
            "row": proposal.row,
            "id": int(segments.ids[proposal.row]),
            **key._asdict(),
            "origin": proposal.origin,
            "held_out": not bool(segments.trainable[proposal.row]),
            "scores": scores,
            "label": None if label is None else self._said(label),
        }
        try:
            sound = self.sound(proposal.row)
        except AudioError as error:
            return {**about, "broken": str(error)}
        seconds = len(sound.wave) / sound.rate / sound.slowed
        return {**about, "begin": sound.begin, "seconds": seconds, "slowed": sound.slowed, "ticks": sound.ticks}

    def _ranked(self, ranked: Ranked) -> dict[str, Any]:
        said = None if ranked.label is None else self._said(ranked.label)
        place = self._labelling.segments.key(ranked.row)._asdict()
        held = not bool(self._labelling.segments.trainable[ranked.row])
        return {"row": ranked.row, **place, "score": ranked.score, "label": said, "held_out": held}

    def _said(self, label: Label) -> dict[str, Any]:
        classes = None if label.classes is None else list(label.classes)
        row = self._labelling.segments.row(label.key)
        return {"number": label.number, "row": row, "classes": classes, "tab": label.tab}

    def _row(self, asked: Asked) -> int:
        row = _whole(asked, "row", -1)
        if not 0 <= row < len(self._labelling.segments):
            raise ConfigError(f"there is no segment {row}")
        return row

    def _class(self, asked: Asked) -> str:
        name = _text(asked, "class", self._labelling.classes[0])
        return name if name in self._labelling.classes else self._labelling.classes[0]


def _share(share: Share) -> dict[str, Any]:
    numbers = {"value": share.value, "low": share.interval.low, "high": share.interval.high}
    known = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
    return {**known, "units": share.units, "method": share.interval.method}


def _text(asked: Asked, name: str, default: str | None = None) -> str:
    value = asked.get(name, default)
    if not isinstance(value, str) or len(value) > 1000:
        raise ConfigError(f"{name} is missing, or no text")
    return value


def _choice(asked: Asked, name: str, choices: tuple[str, ...]) -> Any:
    value = _text(asked, name, choices[0])
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(choices)}")
    return value


def _whole(asked: Asked, name: str, default: int) -> int:
    try:
        return int(asked.get(name, default))
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} is no whole number") from None


def _number(asked: Asked, name: str, default: float) -> float:
    try:
        value = float(asked.get(name, default))
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} is no number") from None
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else default
