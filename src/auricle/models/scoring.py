"""What a fitted model says of windows of recordings: rows of labels, values, anomalies, or runs of frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.audio.batch import Audio
from auricle.audio.recording import SILENCE
from auricle.config import Config, Count, NonNegative, Positive
from auricle.corpus.losses import silence, spread_of
from auricle.corpus.stretches import Stretch, Window, WindowReader, Windows, units
from auricle.corpus.table import Corpus
from auricle.errors import AudioError, ConfigError, Reason
from auricle.models.opening import Model
from auricle.probes.frames.runs import HIT, active_runs, peaks, smoothed
from auricle.tokens.extract import alone

# Seconds of windows of frames where the model was fitted on whole clips: the longest pieces that heads are trained on.
_FRAME_SECONDS = 10.0
# Seconds of audio encoded at once, at most.
_BATCH_SECONDS = 160.0
# Columns of a row of predictions before names are put in: row of the corpus, seconds, place of the class.
NUMBERS: dict[str, Any] = {"row": np.int64, "start": np.float64, "end": np.float64, "label": np.int64}
REASONS: dict[str, Any] = {"threshold": np.float64, "anomalous": np.bool_, "nearest": np.str_}
REASONS |= {"nearest_distance": np.float64}


@dataclass(frozen=True)
class PredictConfig(Config):
    """How a model is applied to recordings.

    Attributes:
        segment: seconds of a window; None: those that the model was fitted on (of events: windows of 10 s if it was
            fitted on whole clips).
        hop: seconds between the starts of two windows; None: `segment`, of events half of it, so that each frame has
            sound on both sides. Frames of overlapping windows are averaged.
        threshold: least score of a row; None: the model's own of each class. Not of regressions, which have a value for
            every window.
        top: at most so many labels a window, the highest; None: all above the threshold. Of events not used.
        merge: join windows (runs of frames) of a label that are at most this many seconds apart to one event, with the
            highest of their scores; None: of windows none, of frames those without a gap.
        shortest: events shorter than this many seconds are dropped after joining; None: the model's own of frames,
            else 0.
        batch: windows encoded at once, at most.
    """

    segment: Positive | None = None
    hop: Positive | None = None
    threshold: float | None = None
    top: Count | None = None
    merge: NonNegative | None = None
    shortest: NonNegative | None = None
    batch: Count = 16


@dataclass(frozen=True)
class Loss:
    """Windows of a clip that have no prediction, or have a remark.

    Attributes:
        row: of the corpus.
        begin: seconds in the recording.
        end: likewise.
        reason: why.
        windows: how many; they may overlap.
        used: predicted all the same.
    """

    row: int
    begin: float
    end: float
    reason: Reason
    windows: int = 1
    used: bool = False


@dataclass
class Scored:
    """Predictions of a unit.

    Attributes:
        columns: the rows, one array a column: those of `NUMBERS`, `score` and, of anomalies, `REASONS`.
        losses: windows without a prediction or with a remark.
        windows: how many there were.
    """

    columns: dict[str, np.ndarray]
    losses: list[Loss] = field(default_factory=list)
    windows: int = 0


class Predictor:
    """A model with settings, ready for units of a corpus.

    Args:
        model: with a head.
        config: settings.

    Attributes:
        model: the model.
        config: settings, as far as they were given.
        windows: the windows that are scored.
        thresholds: of each class; None: all values are kept.
        merge: seconds between windows or runs that are joined; None: they are not.
        shortest: seconds of the shortest event.

    Raises:
        ConfigError: the model has no head, or one that does not score windows, or a setting does not fit it.
    """

    def __init__(self, model: Model, config: PredictConfig) -> None:
        head = model.fitted
        self.model, self.config, self.head, self.reader = model, config, head, model.reader
        if head.kind == "sequence" or not head.classes:
            raise ConfigError(
                f"a model of type {head.kind} has no scores of windows; "
                + ("call `transcribe` in Python" if head.kind == "sequence" else "call `enrol` in Python first")
            )
        if config.hop is not None and config.segment is None and head.segment is None and head.kind != "events":
            raise ConfigError("hop needs segment: the model was fitted on whole clips; set --segment, or drop --hop")
        given = [name for name in ("threshold", "top", "merge", "shortest") if getattr(config, name) is not None]
        if head.kind == "regression" and given:
            raise ConfigError(f"{given[0]} is for labels, and the model predicts numbers; leave --{given[0]} out")
        if config.shortest is not None and config.merge is None and head.kind != "events":
            raise ConfigError("shortest is for events, and windows are not joined; set --merge, or drop --shortest")
        self.frame = 0.0
        self.decoding: Mapping[str, Any] = head.details.get("decoding", {}) if head.kind == "events" else {}
        self.windows = self._windows()
        self.thresholds = self._thresholds()
        # Onsets are no runs of frames: their least distance is that of two peaks.
        self.lasting = head.kind == "events" and self.decoding.get("lasting", True)
        self.merge = 0.0 if config.merge is None and self.lasting else config.merge
        own = self.decoding.get("shortest", 0.0) if self.lasting else 0.0
        self.shortest = own if config.shortest is None else config.shortest

    @property
    def context(self) -> int:
        """Further windows that frames at the ends of a stretch need."""
        if self.head.kind != "events":
            return 0
        return math.ceil(((self.windows.seconds or 0) + self.decoding.get("smooth", 0.0)) / self.windows.hop)

    def units(self, corpus: Corpus) -> list[list[Stretch]]:
        """Return the units of a corpus; see `auricle.corpus.stretches.units`."""
        return units(corpus, self.windows)

    def score(self, corpus: Corpus, unit: Sequence[Stretch]) -> Scored:
        """Predict the windows of a unit: its rows by clip and time.

        Raises:
            StorageError: the machine lacks disk space or file handles.
        """
        with WindowReader(corpus, self.windows, self.reader.rate, self.context) as reader:
            if self.head.kind == "events":
                return _joined([self._frames(corpus, reader, stretch) for stretch in unit])
            losses: list[Loss] = []
            read = (window for stretch in unit for window in reader.read(stretch))
            found = [(w, s) for w, s in self._scores(read, losses)]
        found.sort(key=lambda pair: (pair[0].row, pair[0].begin))
        return Scored(self._rows(found), losses, len(found) + sum(not loss.used for loss in losses))

    def _windows(self) -> Windows:
        config, head = self.config, self.head
        seconds = head.segment if config.segment is None else config.segment
        if head.kind != "events":
            return Windows(seconds, config.hop or seconds or 1.0)
        self.frame = head.frames(self.reader, self.reader.silence())[1]
        # Windows are whole frames apart, so that their frames fall on each other.
        seconds = max(self.frame, seconds or _FRAME_SECONDS)
        hop = max(1, round((config.hop or seconds / 2) / self.frame)) * self.frame
        if hop > seconds + 1e-9:
            raise ConfigError(
                f"windows of {seconds:g} s every {hop:g} s leave frames out; set --hop to at most {seconds:g}"
            )
        return Windows(seconds, hop, self.frame)

    def _thresholds(self) -> NDArray[np.float32] | None:
        head, given = self.head, self.config.threshold
        if head.kind == "regression":
            return None
        if head.kind == "anomaly" and not head.thresholds and given is None:
            raise ConfigError("the model has no threshold of anomalies; give one, or fit the model anew")
        own = head.thresholds or ((0.0 if head.single else 0.5),) * len(head.classes)
        return np.asarray(own if given is None else (given,) * len(own), dtype=np.float32)

    def _scores(self, windows: Iterator[Window], losses: list[Loss]) -> Iterator[tuple[Window, Any]]:
        """Yield windows with what the head says of them, as batches fill up; add those that are lost."""
        waiting: dict[int, list[Window]] = {}
        exact, rate = self.reader.exact_padding, self.reader.rate
        for window in windows:
            wave = window.wave
            reason = wave if isinstance(wave, Reason) else self.reader.shortfall(len(wave))
            if isinstance(wave, Reason) or reason is not None:
                losses.append(Loss(window.row, window.begin, window.end, reason or Reason("")))
                continue
            if (silent := silence(spread_of(wave))) is not None:
                losses.append(Loss(window.row, window.begin, window.end, Reason(_SILENT, silent.cause), used=True))
            group = waiting.setdefault(0 if exact else len(wave), [])
            longest = max(len(wave), *(len(other.wave) for other in group)) if group else len(wave)
            if len(group) == self.config.batch or (group and (len(group) + 1) * longest > _BATCH_SECONDS * rate):
                yield from self._batch(group, losses)
                group.clear()
            group.append(window)
        for group in waiting.values():
            yield from self._batch(group, losses)

    def _batch(self, group: Sequence[Window], losses: list[Loss]) -> Iterator[tuple[Window, Any]]:
        audio = Audio.stack([window.wave for window in group], self.reader.rate)  # type: ignore[misc]
        try:
            said = self._say(audio)
        except AudioError as error:
            # After an error each window alone, so that those which fail are listed.
            if len(group) == 1:
                losses.append(Loss(group[0].row, group[0].begin, group[0].end, error.reason))
                return
            for b, window in enumerate(group):
                short = replace(window, wave=alone(audio, b).wave[0].numpy())
                yield from self._batch([short], losses)
            return
        for window, scores in zip(group, said, strict=True):
            if not np.isfinite(scores[0]).all():
                why = Reason("the scores are not finite", "not finite")
                losses.append(Loss(window.row, window.begin, window.end, why))
            else:
                yield replace(window, wave=Reason("")), scores

    def _say(self, audio: Audio) -> list[tuple[Any, ...]]:
        """Return what the head says of each clip: scores `(C,)` or `(T, C)`; of anomalies the nearest normal clip."""
        head, reader = self.head, self.reader
        if head.kind == "events":
            return [(table,) for table in head.frames(reader, audio)[0].numpy()]
        scores = head.scores(reader, audio).numpy()
        if head.kind != "anomaly":
            return [(row,) for row in scores]
        return [(row, *near) for row, near in zip(scores, head.nearest(reader, audio), strict=True)]

    def _rows(self, found: Sequence[tuple[Window, Any]]) -> dict[str, np.ndarray]:
        head, kept = self.head, list[tuple[Any, ...]]()
        for window, (scores, *near) in found:
            if head.kind == "anomaly" and self.thresholds is not None:
                # Of several machines the one that the clip is most like.
                place = int(np.argmin(scores - self.thresholds))
                kept.append((window.row, window.begin, window.end, place, scores[place], *near))
                continue
            places = np.argsort(-scores, kind="stable") if self.thresholds is not None else np.arange(len(scores))
            if self.thresholds is not None:
                # Of one label a clip only the highest can be said, as its thresholds and its expected performance were
                # made; `top` asks for more.
                places = places[: self.config.top or (1 if head.single else None)]
                places = places[scores[places] >= self.thresholds[places]]
            kept += [(window.row, window.begin, window.end, int(c), scores[c], *near) for c in places]
        names = [*NUMBERS, "score", *(("nearest", "nearest_distance") if head.kind == "anomaly" else ())]
        columns = {name: [row[i] for row in kept] for i, name in enumerate(names)}
        made = {name: np.array(columns[name], dtype=_TYPES[name]) for name in names}
        if head.kind == "anomaly" and self.thresholds is not None:
            own = self.thresholds[made["label"]]
            made["threshold"] = np.array([float(str(value)) for value in own])
            made["anomalous"] = made["score"] >= own
        return made

    def _frames(self, corpus: Corpus, reader: WindowReader, stretch: Stretch) -> Scored:
        """Return the runs of frames of a stretch; one that goes on in the next stretch ends where that begins."""
        losses: list[Loss] = []
        try:
            begin, end = reader.core(stretch)
        except AudioError:
            # The reader says why, for each window.
            begin, end = -math.inf, math.inf
        scored = list(self._scores(reader.read(stretch), losses))
        # Windows beside the stretch are counted where they belong.
        losses = [loss for loss in losses if begin <= loss.begin < end or begin == -math.inf]
        inside = sum(begin <= window.begin < end for window, _ in scored)
        count = inside + sum(not loss.used for loss in losses)
        if not scored or begin >= end:
            return Scored(self._rows([]), losses, count)
        start = float(corpus.table.column("start")[stretch.row].as_py())
        table, first = self._averaged(scored, start)
        table = smoothed(table, 1 / self.frame, self.decoding.get("smooth", 0.0) if self.lasting else 0.0)
        # Starts of windows are rounded to samples, the end of a clip is anywhere in its last frame.
        low, high = round((begin - start) / self.frame), math.ceil((end - start) / self.frame - 0.01)
        core = np.zeros((high - low, table.shape[1]), dtype=np.float32)
        there = slice(max(low, first), min(high, first + len(table)))
        core[there.start - low : there.stop - low] = table[there.start - first : there.stop - first]
        limits = self.thresholds if self.thresholds is not None else ()
        if not self.lasting:
            # An onset may last into the next stretch, and not beyond the clip.
            last = max(end, *(window.end for window, _ in scored))
            return Scored(self._onsets(stretch.row, table, limits, first, (start, low, high, last)), losses, count)
        column, on, off = active_runs(core, limits)
        order = np.lexsort((column, on))
        column, on, off = column[order], on[order], off[order]
        score = np.array([core[a:b, c].max() for c, a, b in zip(column, on, off, strict=True)], dtype=np.float32)
        origin = start + low * self.frame
        ends = np.minimum(origin + off * self.frame, end)
        # A run in the last frame lasts to the end, which may lie within the frame.
        ends[off == len(core)] = end
        # 24.08, not 24.080000000000002.
        times = {"start": np.round(origin + on * self.frame, 9), "end": np.round(ends, 9)}
        rows = {"row": np.full(len(on), stretch.row), **times, "label": column, "score": score}
        return Scored(rows, losses, count)

    def _onsets(
        self,
        row: int,
        table: NDArray[np.float32],
        limits: Sequence[float] | NDArray[np.float32],
        first: int,
        place: tuple[float, int, int, float],
    ) -> dict[str, np.ndarray]:
        """Return the peaks of a stretch, found with the frames around it."""
        start, low, high, end = place
        frame, column = peaks(table, limits, max(1, round(self.decoding.get("shortest", 0.0) / self.frame)))
        inside = (frame + first >= low) & (frame + first < high)
        frame, column = frame[inside], column[inside]
        times = np.minimum(start + (frame + first + 0.5) * self.frame, max(end - 1e-3, start))
        ends = np.round(np.minimum(times + HIT, end), 9)
        rows = {"row": np.full(len(frame), row), "start": np.round(times, 9), "end": ends, "label": column}
        return {**rows, "score": table[frame, column]}

    def _averaged(self, scored: Sequence[tuple[Window, Any]], start: float) -> tuple[NDArray[np.float32], int]:
        """Return the mean frame scores `(T, C)` of overlapping windows, and the place of the first frame."""
        places = [round((window.begin - start) / self.frame) for window, _ in scored]
        sizes = [
            min(len(said[0]), math.ceil((window.end - window.begin) / self.frame - 1e-6)) for window, said in scored
        ]
        first, last = min(places), max(place + size for place, size in zip(places, sizes, strict=True))
        total = np.zeros((last - first, len(self.head.classes)), dtype=np.float64)
        count = np.zeros((last - first, 1))
        for place, size, (_, said) in zip(places, sizes, scored, strict=True):
            total[place - first : place - first + size] += said[0][:size]
            count[place - first : place - first + size] += 1
        # Frames without a window that could be read have no event.
        return (total / np.maximum(count, 1)).astype(np.float32), first


_SILENT = f"silent: samples vary by less than {SILENCE:g} of full scale"
_TYPES = {**NUMBERS, "score": np.float32, **REASONS}


def _joined(parts: Sequence[Scored]) -> Scored:
    names = parts[0].columns
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in names}
    return Scored(columns, [loss for part in parts for loss in part.losses], sum(part.windows for part in parts))
