"""A run asked in words beside the same towers untrained: shown as a table, and written into the run folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from auricle.corpus.readers.side_tables import CAPTIONS, Captions, read_captions
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.audio_text.model import AudioText, open_audio_text, untrained_audio_text
from auricle.evaluation.audio_text.scores import Score, TextAnswers, text_retrieval, zero_shot
from auricle.recipes.environment import versions
from auricle.storage import write_json

ZERO_SHOT, TEXT_RETRIEVAL = "zero-shot", "text-retrieval"


@dataclass(frozen=True)
class TextStudy:
    """What came of asking a run in words.

    Attributes:
        found: its answers.
        control: those of the same towers before any training, or None.
        path: where both were written.
    """

    found: TextAnswers
    control: TextAnswers | None
    path: Path

    def render(self) -> Group:
        """Return a table with a row per measure, in percent, and below it what a reader must know."""
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
        lines = [f"{self.found.clips} clips. Intervals: {interval.confidence:.0%}, {interval.method}."]
        if self.control is not None:
            lines.append("Random weights: one draw of them, which can lie on either side of chance.")
        lines += [f"Note: {note}." for note in self.found.notes]
        return Group(table, Text("\n".join(lines), style="dim"))


def study_zero_shot(
    run: str | Path,
    data: str | Path | Corpus,
    *,
    labels: str = "label",
    templates: Sequence[str] = ("a sound of {}",),
    source: str = "source",
    control: bool = True,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    out: str | Path | None = None,
    command: str | None = None,
    progress: bool = True,
) -> TextStudy:
    """Classify clips by the texts of their classes (see `text_alignment.zero_shot`), and keep what came of it.

    Args:
        run: a run folder that was trained on captions, or one of its checkpoints.
        data: a corpus, or anything that `open_corpus` takes.
        labels: column of the labels.
        templates: texts with one place `{}` for the class.
        source: column of what clips were recorded from: clips of one source are drawn together.
        control: ask the same towers with random weights, too.
        resamples: bootstrap samples.
        confidence: of the intervals.
        seed: of the bootstrap and of the control's weights.
        out: file to write; None: `RUN/zero-shot/CORPUS.json` (`CORPUS-COLUMN.json` for another column than `label`),
            where a later study of the same replaces it.
        command: what to record as the command.
        progress: show progress bars.

    Raises:
        CheckpointError: there is no such run, or it was not trained on captions.
        CorpusError: the corpus can't be opened, or lacks the column or its labels.
        ConfigError: a setting is out of range.
    """

    def ask(towers: AudioText, corpus: Corpus) -> TextAnswers:
        return zero_shot(
            towers,
            corpus,
            labels=labels,
            templates=templates,
            source=source,
            resamples=resamples,
            confidence=confidence,
            seed=seed,
            progress=progress,
        )

    _check(resamples, confidence)
    towers, corpus = open_audio_text(run), _open(data)
    named = () if labels == "label" else (labels,)
    path = Path(out) if out is not None else _place(towers, corpus, ZERO_SHOT, named)
    return _study(run, towers, corpus, ask, seed if control else None, path, command)


def study_text_retrieval(
    run: str | Path,
    data: str | Path | Corpus,
    *,
    columns: Sequence[str] = (),
    captions: str | Path | None = None,
    source: str = "source",
    control: bool = True,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    out: str | Path | None = None,
    command: str | None = None,
    progress: bool = True,
) -> TextStudy:
    """Search clips by captions and captions by clips (see `text_alignment.text_retrieval`), and keep what came of it.

    Args:
        run: a run folder that was trained on captions, or one of its checkpoints.
        data: a corpus, or anything that `open_corpus` takes.
        columns: which columns hold captions, of the corpus or of the table; none: `caption` of the corpus, or all of
            the table whose name begins or ends so.
        captions: a table (`file` and columns of captions); None: the corpus's own columns, and `captions.csv` in its
            folder where neither columns are named nor the corpus has a column `caption`.
        source: as for `study_zero_shot`.
        control: likewise.
        resamples: likewise.
        confidence: likewise.
        seed: likewise.
        out: file to write; None: `RUN/text-retrieval/CORPUS.json` (`CORPUS-COLUMNS.json` where columns are named).
        command: what to record as the command.
        progress: show progress bars.

    Raises:
        CheckpointError: there is no such run, or it was not trained on captions.
        CorpusError: the corpus or the table can't be opened, or there are no captions.
        ConfigError: a setting is out of range.
    """

    def ask(towers: AudioText, corpus: Corpus) -> TextAnswers:
        return text_retrieval(
            towers,
            corpus,
            columns=columns or ("caption",),
            captions=table,
            source=source,
            resamples=resamples,
            confidence=confidence,
            seed=seed,
            progress=progress,
        )

    _check(resamples, confidence)
    towers, corpus = open_audio_text(run), _open(data)
    table = _captions(corpus, columns, captions)
    path = Path(out) if out is not None else _place(towers, corpus, TEXT_RETRIEVAL, columns)
    return _study(run, towers, corpus, ask, seed if control else None, path, command)


def _study(
    run: str | Path,
    towers: AudioText,
    corpus: Corpus,
    ask: Callable[[AudioText, Corpus], TextAnswers],
    control_seed: int | None,
    path: Path,
    command: str | None,
) -> TextStudy:
    found = ask(towers, corpus)
    control = None if control_seed is None else ask(untrained_audio_text(run, towers, control_seed), corpus)
    record: dict[str, Any] = {
        "run": str(run),
        "encoder": {"name": towers.name, "fingerprint": towers.encoder.fingerprint},
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint, "clips": len(corpus)},
        "command": command,
        "versions": versions(),
        **found.to_json(),
        "control": None if control is None else control.to_json(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return TextStudy(found, control, path)


def _open(data: str | Path | Corpus) -> Corpus:
    return data if isinstance(data, Corpus) else open_corpus(data)


def _captions(corpus: Corpus, columns: Sequence[str], table: str | Path | None) -> Captions | None:
    if table is None and not columns and "caption" not in corpus.columns:
        table = corpus.root / CAPTIONS
        if not table.is_file():
            raise CorpusError(
                f"corpus {corpus.name} has no column 'caption' (it has {', '.join(sorted(corpus.columns))}), and there "
                f"is no {table}; name the columns that hold its captions (--columns), or a table of file,caption "
                "(--captions)"
            )
    return None if table is None else read_captions(table, corpus, columns)


def _check(resamples: int, confidence: float) -> None:
    if resamples < 1 or not 0 < confidence < 1:
        raise ConfigError(
            f"found resamples {resamples} and confidence {confidence}; expected at least one resample, and a "
            "confidence between 0 and 1"
        )


def _place(towers: AudioText, corpus: Corpus, folder: str, named: Sequence[str]) -> Path:
    if towers.run is None:
        raise ConfigError(f"{towers.name} is of no run folder; say where its results go (out)")
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in "-".join([corpus.name, *named]))
    return towers.run / folder / f"{name}.json"


def _cell(score: Score) -> str:
    return f"{_percent(score.value)} [{_percent(score.interval.low)}, {_percent(score.interval.high)}]"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"
