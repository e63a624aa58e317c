"""Scores of audio-text towers on text tasks, and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from auricle.evaluation.audio_text.predictions import ZeroShotPredictions
from auricle.metrics.intervals import Interval
from auricle.results.predictions import load_predictions
from auricle.results.record import Result
from auricle.words import counted


@dataclass(frozen=True)
class Score:
    """A score with its interval and its chance level (NaN where that has no simple value)."""

    name: str
    value: float
    interval: Interval
    chance: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON-ready data; what is not a number becomes None."""
        ends = {"low": self.interval.low, "high": self.interval.high, "confidence": self.interval.confidence}
        how = {"interval": self.interval.method, "chance": self.chance}
        numbers = {"name": self.name, "value": self.value, **ends, **how}
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in numbers.items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Score:
        """Rebuild a score from `to_json`'s data."""
        value, low, high, chance = (
            math.nan if data[name] is None else data[name] for name in ("value", "low", "high", "chance")
        )
        return cls(data["name"], value, Interval(low, high, data["confidence"], data["interval"]), chance)


@dataclass(frozen=True)
class TextScores:
    """Scores of one pair of towers on a text task.

    Attributes:
        task: the task, in words.
        scores: each with its interval.
        clips: number of clips.
        settings: templates, columns, names of classes: all that decides the scores besides towers and corpus.
        notes: caveats.
        predicted: of zero-shot classification: file -> the class with the nearest text; else empty.
    """

    task: str
    scores: tuple[Score, ...]
    clips: int
    settings: dict[str, Any]
    notes: tuple[str, ...]
    predicted: dict[str, str]

    @classmethod
    def of(cls, results: Sequence[Result], folder: Path) -> TextScores:
        """Collect the scores of results: one, or one for each direction of retrieval.

        Args:
            results: of one pair of towers.
            folder: of their predictions.
        """
        scores: list[Score] = []
        for result in results:
            way = f"{result.probe.replace('_', ' ')}: " if len(results) > 1 else ""
            found = map(Score.from_json, result.details["scores"])
            scores += [replace(score, name=f"{way}{score.name}") for score in found]
        first = results[0]
        predicted = {}
        if first.type_name == ZeroShotPredictions.type_name:
            answers = load_predictions(folder / str(first.predictions))
            if isinstance(answers, ZeroShotPredictions):
                nearest = answers.scores[0].argmax(1).tolist()
                files = [str(unit).rpartition("@")[0] for unit in answers.names]
                predicted = {file: answers.classes[place] for file, place in zip(files, nearest, strict=True)}
        about = first.details
        return cls(about["title"], tuple(scores), about["clips"], first.settings, tuple(first.notes), predicted)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON-ready data."""
        return {
            "task": self.task,
            "clips": self.clips,
            "scores": [score.to_json() for score in self.scores],
            "settings": self.settings,
            "notes": list(self.notes),
            "predicted": self.predicted,
        }


@dataclass(frozen=True)
class TextResults:
    """Results of a run on a text task.

    Attributes:
        results: records of the run, then of its control.
        found: scores of the run.
        control: scores of the same towers before any training, or None.
        path: JSON file of both; `results.jsonl` and the predictions are in its folder. None: nothing was written.
    """

    results: list[Result]
    found: TextScores
    control: TextScores | None
    path: Path | None

    def render(self) -> Group:
        """Return a table with a row per measure, in percent, and the caveats below it."""
        table = Table(title=Text(f"{self.found.task}: in percent"), title_justify="left")
        table.add_column("measure", overflow="fold")
        for name in ("the run", *(() if self.control is None else ("random weights",)), "chance"):
            table.add_column(name, justify="right", no_wrap=True)
        above = ""
        for place, score in enumerate(self.found.scores):
            way, _, measure = score.name.rpartition(": ")
            if way != above:
                table.add_section()
                table.add_row(Text(way, style="italic"))
                above = way
            control = () if self.control is None else (_cell(self.control.scores[place]),)
            table.add_row(measure, Text(_cell(score), style="bold"), *control, _percent(score.chance))
        interval = self.found.scores[0].interval
        lines = [f"{counted(self.found.clips, 'clip')}. Intervals: {interval.confidence:.0%}, {interval.method}."]
        if self.control is not None:
            lines.append("Random weights: a single draw, which can lie on either side of chance.")
        lines += [f"Note: {note}." for note in self.found.notes]
        return Group(table, Text("\n".join(lines), style="dim"))


def chance_level(measure: str, relevant: NDArray[np.bool_]) -> float:
    """Return the expected recall at k of a random ranking; NaN for other measures, which have no simple value."""
    if not measure.startswith("recall_at_"):
        return math.nan
    items, k = relevant.shape[1], int(measure.removeprefix("recall_at_"))
    good = relevant.sum(1)
    missed = np.ones(len(good))
    for place in range(min(k, items)):
        missed *= np.clip(items - good - place, 0, None) / (items - place)
    return float((1 - missed).mean())


def _cell(score: Score) -> str:
    ends = f" [{_percent(score.interval.low)}, {_percent(score.interval.high)}]" if score.interval.known else ""
    return _percent(score.value) + ends


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"
