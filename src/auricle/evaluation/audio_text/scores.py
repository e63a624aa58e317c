"""What an encoder of audio and text can be asked in words: classes that it was never trained on, and search both ways.

`zero_shot`: each class is a text, and a clip gets the class whose text is nearest. `text_retrieval`: captions search
clips, and clips search captions. Both give intervals by bootstrap over sources, beside what chance would give.

Sources: CLIP, arXiv 2103.00020, section 3.1 (templates, averaged); CLAP, arXiv 2206.04769, section 3 (zero-shot
classification of sounds); retrieval measures as usual for captioned audio (R@K, mAP@10 as the whole ranking's).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.corpus.columns import split_labels
from auricle.corpus.readers.side_tables import Captions
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.audio_text.model import AudioText, open_audio_text
from auricle.evaluation.seen import seen
from auricle.metrics.classification import accuracy, macro_f1, mean_average_precision
from auricle.metrics.intervals import Interval, bootstrap_weights, percentile_interval
from auricle.metrics.retrieval import retrieval_of_queries
from auricle.metrics.weights import unit_mean
from auricle.objectives.text.captions import caption_table, check_template

_MEASURES = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr", "map_retrieval")


@dataclass(frozen=True)
class Score:
    """A score with its interval, and what chance would give (NaN where it has no simple value)."""

    name: str
    value: float
    interval: Interval
    chance: float

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        ends = {"low": self.interval.low, "high": self.interval.high, "confidence": self.interval.confidence}
        how = {"interval": self.interval.method, "chance": self.chance}
        numbers = {"name": self.name, "value": self.value, **ends, **how}
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in numbers.items()}

    def line(self) -> str:
        """Return it as a line for people."""
        chance = "" if math.isnan(self.chance) else f"   chance {self.chance:.3f}"
        return f"{self.name:<28} {self.value:.3f}  [{self.interval.low:.3f}, {self.interval.high:.3f}]{chance}"


@dataclass(frozen=True)
class TextAnswers:
    """What came of asking in words.

    Attributes:
        task: what was asked, in words.
        scores: each with its interval.
        clips: how many took part.
        settings: templates, columns, names of classes: all that decides the scores beside run and corpus.
        notes: what a reader must know.
        predicted: of a zero-shot classification, file -> the class whose text is nearest; else empty.
    """

    task: str
    scores: tuple[Score, ...]
    clips: int
    settings: dict[str, Any]
    notes: tuple[str, ...]
    predicted: dict[str, str]

    def text(self) -> str:
        """Return a page for people."""
        lines = [f"{self.task}, {self.clips} clips", *(score.line() for score in self.scores)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            "task": self.task,
            "clips": self.clips,
            "scores": [score.to_json() for score in self.scores],
            "settings": self.settings,
            "notes": list(self.notes),
            "predicted": self.predicted,
        }

    def write(self, path: Path | str) -> Path:
        """Write it as JSON and return the path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def zero_shot(
    model: AudioText | str | Path,
    data: Corpus | str | Path,
    *,
    labels: str = "label",
    templates: Sequence[str] = ("a sound of {}",),
    source: str = "source",
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> TextAnswers:
    """Classify clips by the texts of their classes.

    Where every clip has one label the scores are accuracy and macro F1; else mean average precision over classes.
    Underscores in labels are read as spaces.

    Args:
        model: a run folder, or what `open_audio_text` returns.
        data: a corpus, or anything that `open_corpus` takes.
        labels: column of the labels, several of a clip joined by `;`. Clips without one take no part.
        templates: texts with one place `{}` for the class; the vectors of several are averaged.
        source: column of what clips were recorded from: clips of one source are drawn together; without it, of one
            file.
        resamples: bootstrap samples.
        confidence: of the intervals.
        seed: of the bootstrap.
        progress: show a progress bar.

    Raises:
        ConfigError: a template has no place for the class, or there is none; or two classes are the very same tokens
            to the text tower.
        CorpusError: there is no such column, or fewer than two classes.
    """
    if not templates:
        raise ConfigError("no template was given; give at least one, such as 'a sound of {}'")
    for template in templates:
        check_template(template)
    model, corpus = _opened(model, data)
    told = [split_labels(None if cell is None else str(cell)) for cell in _column(corpus, labels)]
    classes = sorted({label for clip in told for label in clip})
    if len(classes) < 2:
        raise CorpusError(
            f"column {labels!r} of corpus {corpus.name} has {len(classes)} classes; expected at least two: name the "
            f"column that holds its labels (it has {', '.join(sorted(corpus.columns))})"
        )
    spoken = [name.replace("_", " ") for name in classes]
    texts = [[template.format(name) for name in spoken] for template in templates]
    model.check_apart(classes, texts)
    rows, vectors = model.corpus(corpus.select([row for row, clip in enumerate(told) if clip]), progress=progress)
    labelled = np.flatnonzero([bool(clip) for clip in told])
    rows = labelled[rows]
    prompts = np.mean([model.texts(each) for each in texts], axis=0)
    scores = vectors @ (prompts / np.linalg.norm(prompts, axis=1, keepdims=True)).T
    truth = np.array([[name in told[row] for name in classes] for row in rows])
    weights = _weights(corpus, rows, source, resamples, seed)
    found = scores.argmax(1)
    if (truth.sum(1) == 1).all():
        right = truth.argmax(1)
        made = [
            ("accuracy", accuracy(right, found), accuracy(right, found, weights), 1 / len(classes)),
            ("macro_f1", macro_f1(right, found), macro_f1(right, found, weights), math.nan),
        ]
    else:
        value = mean_average_precision(truth, scores)
        made = [("mAP", value, mean_average_precision(truth, scores, weights), float(truth.mean(0).mean()))]
    method = f"bootstrap over sources, {resamples} resamples"
    return TextAnswers(
        task=f"zero-shot classification of {labels!r} in {corpus.name} by {model.name}, {len(classes)} classes",
        scores=tuple(
            Score(name, value, _interval(drawn, method, confidence, value), chance)
            for name, value, drawn, chance in made
        ),
        clips=len(rows),
        settings={"labels": labels, "templates": list(templates), "classes": classes, "source": source, "seed": seed},
        notes=(
            *model.unknown_note(spoken, "classes", spell=True),
            *model.unknown_note([template.replace("{}", " ") for template in templates], "templates"),
            *_notes(model, corpus, len(corpus) - len(labelled), len(labelled) - len(rows)),
        ),
        predicted={
            file: classes[place]
            for file, place in zip((corpus.column("file")[row] for row in rows), found.tolist(), strict=True)
        },
    )


def text_retrieval(
    model: AudioText | str | Path,
    data: Corpus | str | Path,
    *,
    columns: Sequence[str] = ("caption",),
    captions: Captions | None = None,
    source: str = "source",
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> TextAnswers:
    """Search clips by captions, and captions by clips.

    Equal captions are one text, for which all clips that have it are right answers.

    Args:
        model: a run folder, or what `open_audio_text` returns.
        data: a corpus, or anything that `open_corpus` takes.
        columns: of the corpus, that hold captions; clips without any take no part.
        captions: from a table beside the corpus (`side_tables.read_captions`), instead of columns.
        source: as for `zero_shot`; captions are drawn by themselves.
        resamples: bootstrap samples.
        confidence: of the intervals.
        seed: of the bootstrap.
        progress: show a progress bar.

    Raises:
        CorpusError: there is no such column, or no clip has a caption.
    """
    model, corpus = _opened(model, data)
    own = _captions_of(corpus, columns, captions)
    described = np.flatnonzero([bool(texts) for texts in own])
    if not len(described):
        raise CorpusError(f"no clip of corpus {corpus.name} has a caption in {', '.join(columns)}; name other columns")
    table = caption_table({"caption": [own[row] for row in described]}, ("caption",))
    rows, vectors = model.corpus(corpus.select(described), progress=progress)
    relevant = np.zeros((len(described), len(table.texts)), dtype=bool)
    for clip, (first, count) in enumerate(zip(table.first.tolist(), table.count.tolist(), strict=True)):
        relevant[clip, table.numbers[first : first + count].numpy()] = True
    relevant = relevant[rows]
    asked = relevant.any(0)
    texts = [table.texts[place] for place in np.flatnonzero(asked)]
    scores, relevant = vectors @ model.texts(texts).T, relevant[:, asked]
    ways = (
        ("audio to text", scores, relevant, _weights(corpus, described[rows], source, resamples, seed)),
        ("text to audio", scores.T, relevant.T, bootstrap_weights(int(asked.sum()), resamples, _generator(seed))),
    )
    made = []
    for way, each, good, weights in ways:
        values = retrieval_of_queries(each, good)
        for name in _MEASURES:
            value = float(np.nanmean(values[name]))
            method = f"bootstrap over queries, {resamples} resamples"
            interval = _interval(unit_mean(values[name], weights), method, confidence, value)
            made.append(Score(f"{way}: {name}", value, interval, _chance(name, good)))
    return TextAnswers(
        task=f"retrieval in {corpus.name} by {model.name}, {int(asked.sum())} different captions",
        scores=tuple(made),
        clips=len(rows),
        settings={"columns": list(columns) if captions is None else "a table", "source": source, "seed": seed},
        notes=(
            *(() if captions is None else captions.notes),
            *model.unknown_note(texts, "captions"),
            *model.alike_note(texts, "captions"),
            *_notes(model, corpus, len(corpus) - len(described), len(described) - len(rows)),
        ),
        predicted={},
    )


def _captions_of(corpus: Corpus, columns: Sequence[str], captions: Captions | None) -> list[list[str]]:
    if captions is not None:
        own: list[list[str]] = [[] for _ in range(len(corpus))]
        for row, text in zip(captions.rows.tolist(), captions.texts, strict=True):
            own[row].append(text)
        return own
    cells = [_column(corpus, name) for name in columns]
    found = []
    for row in range(len(corpus)):
        each = [cell[row] for cell in cells]
        texts = [text for value in each for text in (value if isinstance(value, list | tuple) else [value])]
        found.append([str(text) for text in texts if text is not None and str(text).strip()])
    return found


def _opened(model: AudioText | str | Path, data: Corpus | str | Path) -> tuple[AudioText, Corpus]:
    return (
        model if isinstance(model, AudioText) else open_audio_text(model),
        data if isinstance(data, Corpus) else open_corpus(data),
    )


def _column(corpus: Corpus, name: str) -> list[Any]:
    if name not in corpus.columns:
        raise CorpusError(
            f"corpus {corpus.name} has no column {name!r}; it has {', '.join(sorted(corpus.columns))}: name one of them"
        )
    return corpus.column(name)


def _weights(corpus: Corpus, rows: NDArray[np.int64], source: str, resamples: int, seed: int) -> NDArray[np.float64]:
    files, sources = corpus.column("file"), corpus.column(source) if source in corpus.columns else None
    groups = [files[row] if sources is None or sources[row] in (None, "") else f"source {sources[row]}" for row in rows]
    return bootstrap_weights(len(rows), resamples, _generator(seed), groups)


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _interval(drawn: NDArray[np.float64], method: str, confidence: float, value: float) -> Interval:
    """Centre on the score and cut at 0 and 1, between which all measures here lie."""
    found = percentile_interval(drawn, f"{method}, centred on the score", confidence, value)
    return replace(found, low=float(np.clip(found.low, 0, 1)), high=float(np.clip(found.high, 0, 1)))


def _chance(measure: str, relevant: NDArray[np.bool_]) -> float:
    """Expected recall at k of a random ranking; the other measures have no simple value."""
    if not measure.startswith("recall_at_"):
        return math.nan
    items, k = relevant.shape[1], int(measure.removeprefix("recall_at_"))
    good = relevant.sum(1)
    missed = np.ones(len(good))
    for place in range(min(k, items)):
        missed *= np.clip(items - good - place, 0, None) / (items - place)
    return float((1 - missed).mean())


def _notes(model: AudioText, corpus: Corpus, without: int, broken: int) -> tuple[str, ...]:
    notes = list(model.encoder.notes)
    if model.objective.config.template:
        notes.append(
            f"the captions of the training were made of labels ({', '.join(model.objective.columns)}) by the template "
            f"{model.objective.config.template!r}: it was trained with labels"
        )
    if model.run is not None and seen(model.run, corpus):
        notes.append(
            f"clips of {corpus.name} were heard in its training, with their captions: these are not unseen clips"
        )
    if without:
        notes.append(f"{without} clips have neither label nor caption and took no part")
    if corpus.problems:
        notes.append(f"{len(corpus.problems)} recordings could not be opened with the corpus and took no part")
    if broken:
        notes.append(f"{broken} clips could not be read and took no part")
    return tuple(notes)
