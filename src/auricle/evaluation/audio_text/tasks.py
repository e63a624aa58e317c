"""Zero-shot classification and text retrieval as types of tasks.

Zero-shot classification: each class is a text, and a clip gets the class with the nearest text. Text retrieval:
captions search clips, and clips search captions. Intervals count sources, and captions.

Sources: CLIP, arXiv 2103.00020, section 3.1 (templates, averaged); CLAP, arXiv 2206.04769, section 3 (zero-shot
classification of sounds); retrieval measures as usual for captioned audio (R@K, and mAP of the whole ranking).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.columns import split_labels
from auricle.corpus.readers.side_tables import Captions
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.audio_text.model import AudioText
from auricle.evaluation.audio_text.predictions import MEASURES, TextRetrievalPredictions, ZeroShotPredictions
from auricle.evaluation.audio_text.scores import Score, chance_level
from auricle.metrics.retrieval import retrieval_of_queries
from auricle.objectives.text.captions import CaptionTable, caption_table, check_template
from auricle.results.predictions import TaskPredictions
from auricle.tasks.card import TaskCard
from auricle.tasks.targets import source_groups
from auricle.tasks.task_type import Job, Outcome, Protocol, TaskPlan, TaskType
from auricle.words import counted, was

Direction = Literal["audio_to_text", "text_to_audio"]


@dataclass(frozen=True)
class ZeroShotConfig(Config, section=""):
    """Zero-shot classification.

    Attributes:
        templates: texts with one place `{}` for the class; the vectors of several are averaged.
    """

    templates: tuple[str, ...] = ("a sound of {}",)

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("no template is set; expected at least one, such as 'a sound of {}'")
        for template in self.templates:
            check_template(template)


@dataclass(frozen=True)
class TextRetrievalConfig(Config, section=""):
    """Retrieval between clips and captions.

    Attributes:
        columns: columns of the captions.
        direction: clips search captions, or captions search clips.
    """

    columns: tuple[str, ...] = ("caption",)
    direction: Direction = "audio_to_text"


class TextTask(TaskType):
    """A task of audio and text, for one pair of towers.

    Args:
        towers: the towers.
    """

    def __init__(self, towers: AudioText) -> None:
        self.towers = towers

    def notes(self, without: int) -> list[str]:
        """Return caveats about the encoder, its training data and clips without a text."""
        towers = self.towers
        notes, config = list(towers.encoder.notes), towers.objective.config
        if config.template:
            notes.append(
                f"the captions of the training were made of labels ({', '.join(towers.objective.columns)}) by the "
                f"template {config.template!r}: it was trained with labels"
            )
        if without:
            notes.append(f"{counted(without, 'clip')} without label and caption {was(without)} skipped")
        return notes


class ZeroShotTask(TextTask):
    """Classify clips by the texts of their classes.

    Where every clip has one label the scores are accuracy and macro F1; else mean average precision over classes.
    Underscores in labels are read as spaces.
    """

    name: ClassVar[str] = "zero_shot"
    probes: ClassVar[dict[str, Config]] = {"text": ZeroShotConfig()}
    default_probes: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, towers: AudioText, config: ZeroShotConfig) -> None:
        super().__init__(towers)
        self.config = config

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        labels = [split_labels(None if cell is None else str(cell)) for cell in cells_of(corpus, card.label)]
        classes = sorted({label for clip in labels for label in clip})
        if len(classes) < 2:
            raise CorpusError(
                f"column {card.label!r} of corpus {corpus.name} has {len(classes)} classes; expected at least two: "
                f"name the column that holds its labels (it has {', '.join(sorted(corpus.columns))})"
            )
        spoken = [name.replace("_", " ") for name in classes]
        texts = [[template.format(name) for name in spoken] for template in self.config.templates]
        self.towers.check_apart(classes, texts)
        rows = np.flatnonzero([bool(clip) for clip in labels])
        truth = np.array([[name in labels[row] for name in classes] for row in rows])
        words = "all labelled clips are tested; none is trained on"
        return TaskPlan(rows, self.name, words, source_groups(card, corpus, rows), (), (classes, texts, truth))

    def run(self, job: Job) -> Outcome:
        classes, texts, truth = job.plan.payload
        towers, corpus, here = self.towers, job.corpus, job.present
        truth, groups = truth[here], job.plan.groups[here]
        prompts = np.mean([towers.texts(each) for each in texts], axis=0)
        scores = _vectors(job) @ (prompts / np.linalg.norm(prompts, axis=1, keepdims=True)).T
        single = bool((truth.sum(1) == 1).all())
        predictions = ZeroShotPredictions(
            kind="single" if single else "multi",
            classes=tuple(classes),
            names=job.clip_names[here],
            fold=np.zeros(len(truth), dtype=np.int64),
            group=groups,
            truth=truth,
            scores=scores[None],
            seeds=(0,),
        )
        chance = {"accuracy": 1 / len(classes), "macro_f1": math.nan} if single else {"mAP": float(truth.mean())}
        spoken = [name.replace("_", " ") for name in classes]
        templates = self.config.templates
        notes = [
            *towers.unknown_note(spoken, "classes", spell=True),
            *towers.unknown_note([template.replace("{}", " ") for template in templates], "templates"),
            *self.notes(len(corpus) - len(here)),
        ]
        title = f"zero-shot classification of {job.card.label!r} in {corpus.name} by {towers.name}"
        return _outcome(
            predictions,
            _scores(predictions, chance, job.protocol),
            title=f"{title}, {len(classes)} classes",
            clips=len(truth),
            settings={
                "labels": job.card.label,
                "templates": list(templates),
                "classes": classes,
                "source": job.card.source,
                "seed": job.protocol.split_seed,
            },
            notes=notes,
            total=len(here),
        )


class TextRetrievalTask(TextTask):
    """Search captions by clips, or clips by captions.

    Equal captions are one text, for which all clips that have it are right answers.

    Args:
        towers: the towers.
        config: columns of the captions.
        captions: from a table beside the corpus (`side_tables.read_captions`), instead of columns.
    """

    name: ClassVar[str] = "text_retrieval"
    probes: ClassVar[dict[str, Config]] = {
        "audio_to_text": TextRetrievalConfig(),
        "text_to_audio": TextRetrievalConfig(direction="text_to_audio"),
    }
    default_probes: ClassVar[tuple[str, ...]] = ("audio_to_text", "text_to_audio")

    def __init__(self, towers: AudioText, columns: Sequence[str], captions: Captions | None = None) -> None:
        super().__init__(towers)
        self.columns, self.captions = tuple(columns), captions

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        own = captions_of(corpus, self.columns, self.captions)
        rows = np.flatnonzero([bool(texts) for texts in own])
        if not len(rows):
            raise CorpusError(
                f"no clip of corpus {corpus.name} has a caption in {', '.join(self.columns)}; name other columns"
            )
        table = caption_table({"caption": [own[row] for row in rows]}, ("caption",))
        words = "all clips with captions are ranked; none is trained on"
        return TaskPlan(rows, self.name, words, source_groups(card, corpus, rows), (), table)

    def run(self, job: Job) -> Outcome:
        config, towers, corpus, here = job.probe, self.towers, job.corpus, job.present
        if not isinstance(config, TextRetrievalConfig):
            raise ConfigError(f"found settings {type(config).__name__}; expected a TextRetrievalConfig")
        relevant = _relevant(job.plan.payload, len(here))[here]
        asked = relevant.any(0)
        texts = [job.plan.payload.texts[place] for place in np.flatnonzero(asked)]
        scores, relevant = _vectors(job) @ towers.texts(texts).T, relevant[:, asked]
        names, groups = job.clip_names[here], job.plan.groups[here]
        if config.direction == "text_to_audio":
            scores, relevant = scores.T, relevant.T
            names = groups = np.array(texts, dtype=np.str_)
        values = retrieval_of_queries(scores, relevant)
        predictions = TextRetrievalPredictions(
            names=names,
            group=groups,
            fold=np.zeros(len(names), dtype=np.int64),
            seeds=(0,),
            relevant=relevant.sum(1),
            values=np.stack([values[name] for name in MEASURES], axis=1)[None],
        )
        measures = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr", "map_retrieval")
        notes = [
            *(() if self.captions is None else self.captions.notes),
            *towers.unknown_note(texts, "captions"),
            *towers.alike_note(texts, "captions"),
            *self.notes(len(corpus) - len(here)),
        ]
        return _outcome(
            predictions,
            _scores(predictions, {name: chance_level(name, relevant) for name in measures}, job.protocol),
            title=f"retrieval in {corpus.name} by {towers.name}, {counted(len(texts), 'different caption')}",
            clips=int(here.sum()),
            settings={
                "columns": list(self.columns) if self.captions is None else "a table",
                "source": job.card.source,
                "seed": job.protocol.split_seed,
            },
            notes=notes,
            total=len(here) if config.direction == "audio_to_text" else len(job.plan.payload.texts),
        )


def captions_of(corpus: Corpus, columns: Sequence[str], captions: Captions | None) -> list[list[str]]:
    """Return the captions of each clip, from columns of the corpus or from a table.

    Raises:
        CorpusError: there is no such column.
    """
    if captions is not None:
        own: list[list[str]] = [[] for _ in range(len(corpus))]
        for row, text in zip(captions.rows.tolist(), captions.texts, strict=True):
            own[row].append(text)
        return own
    cells = [cells_of(corpus, name) for name in columns]
    found = []
    for row in range(len(corpus)):
        each = [cell[row] for cell in cells]
        texts = [text for value in each for text in (value if isinstance(value, list | tuple) else [value])]
        found.append([str(text) for text in texts if text is not None and str(text).strip()])
    return found


def cells_of(corpus: Corpus, name: str) -> list[Any]:
    """Return a column of a corpus.

    Raises:
        CorpusError: there is no such column.
    """
    if name not in corpus.columns:
        raise CorpusError(
            f"corpus {corpus.name} has no column {name!r}; it has {', '.join(sorted(corpus.columns))}: name one of them"
        )
    return corpus.column(name)


def _outcome(
    predictions: TaskPredictions,
    scores: Sequence[Score],
    *,
    title: str,
    clips: int,
    settings: dict[str, Any],
    notes: list[str],
    total: int,
) -> Outcome:
    return Outcome(
        predictions=predictions,
        fold_names=["all"],
        sizes=[[0, 0, len(predictions.names)]],
        units_total=total,
        settings=settings,
        notes=notes,
        details={"title": title, "clips": clips, "scores": [score.to_json() for score in scores]},
    )


def _scores(predictions: TaskPredictions, chance: dict[str, float], protocol: Protocol) -> list[Score]:
    """Return the score of each metric, with its interval and its chance level."""
    found = {name: protocol.score(predictions, name) for name in chance}
    return [Score(name, found[name].value, found[name].interval, level) for name, level in chance.items()]


def _vectors(job: Job) -> NDArray[np.float64]:
    cache: Any = job.cache
    vectors: NDArray[np.float64] = cache.vectors
    return vectors


def _relevant(table: CaptionTable, clips: int) -> NDArray[np.bool_]:
    relevant = np.zeros((clips, len(table.texts)), dtype=bool)
    for clip, (first, count) in enumerate(zip(table.first.tolist(), table.count.tolist(), strict=True)):
        relevant[clip, table.numbers[first : first + count].numpy()] = True
    return relevant
