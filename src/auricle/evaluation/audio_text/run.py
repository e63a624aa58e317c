"""Zero-shot classification and text retrieval of a run and of the same towers untrained, as results and as a table."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from auricle.config import Config
from auricle.corpus.readers.side_tables import CAPTIONS, Captions, read_captions
from auricle.corpus.reading import read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.devices import Precision
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.audio_text.model import AudioText, EmbeddedClips, open_audio_text, untrained_audio_text
from auricle.evaluation.audio_text.scores import Score, TextResults, TextScores
from auricle.evaluation.audio_text.tasks import TextRetrievalTask, TextTask, ZeroShotConfig, ZeroShotTask
from auricle.evaluation.driver import EvaluatedEncoder, Evaluation, PlannedTask, drive
from auricle.evaluation.leaks import OnLeak
from auricle.evaluation.seen import Seen, seen
from auricle.probes import SearchConfig
from auricle.recipes.environment import versions
from auricle.results.record import Role
from auricle.results.scoring import Scores
from auricle.storage import write_json
from auricle.tasks.card import TaskCard
from auricle.tasks.task_type import Outcome, Protocol
from auricle.words import counted, was

ZERO_SHOT, TEXT_RETRIEVAL = "zero-shot", "text-retrieval"
# A task for one pair of towers, its probes, and what else decides its scores.
_Made = tuple[TextTask, dict[str, Config], dict[str, Any]]


@dataclass(frozen=True)
class _TextEvaluation(Evaluation):
    """An evaluation whose scores and intervals come from the task."""

    def scores(self, outcome: Outcome, metric: str) -> Scores:
        predictions = outcome.predictions
        found = {score.name: score for score in map(Score.from_json, outcome.details["scores"])}
        ones = np.ones((1, len(predictions.names)))
        metrics = {name: float(predictions.measure(name, ones).mean()) for name in predictions.metrics}
        metrics |= {name: score.value for name, score in found.items()}
        value = found[metric].value
        return Scores(value, found[metric].interval, metrics, [value], [value], [[value]], predictions.detail())


def zero_shot(
    model: str | Path | AudioText,
    data: str | Path | Corpus,
    *,
    labels: str = "label",
    templates: Sequence[str] = ("a sound of {}",),
    source: str = "source",
    controls: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    on_leak: OnLeak = "warn",
    out: str | Path | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    command: str | None = None,
    progress: bool = True,
) -> TextResults:
    """Classify clips by the texts of their classes, and write the results into the run folder.

    Finished results (same run, corpus and settings) are not computed again.

    Args:
        model: a run folder that was trained on captions, one of its checkpoints, or an opened pair of towers, whose
            results are written only where `out` is given.
        data: a corpus, or what `open_corpus` opens.
        labels: column of the labels, several of a clip joined by `;`. Clips without labels are skipped.
        templates: texts with one place `{}` for the class; the vectors of several are averaged.
        source: column that names what a clip was recorded from: clips of one source are no independent evidence;
            without it, clips of one file.
        controls: evaluate the same towers with random weights as well; not for opened towers.
        confidence: coverage of the intervals.
        seed: of the control's weights.
        channel: channel that is read, see `auricle.corpus.reading.read_as`.
        time_expansion: how many times slower recordings are played, see there.
        on_leak: what happens where clips, or copies of them, were seen in training: `warn` (a note on the result),
            `refuse` (an error) or `drop` (they are removed).
        out: JSON file to write, beside `results.jsonl` and the predictions; None: `RUN/zero-shot/CORPUS.json`
            (`CORPUS-COLUMN.json` for another column than `label`).
        device: where to compute: `auto`, `cpu`, `cuda` or `mps`.
        precision: of the audio encoder: `fp32`, `bf16` (autocast), or `auto`: bfloat16 on CUDA.
        command: recorded as the command; None: that of this process.
        progress: show progress bars.

    Raises:
        CheckpointError: there is no such run, or it was not trained on captions.
        CorpusError: the corpus can't be opened, lacks the column, or has fewer than two classes.
        ConfigError: a setting is out of range, or the text tower can't distinguish two classes.

    Examples:
        >>> import auricle
        >>> auricle.zero_shot("runs/clap", "recordings", templates=["the sound of a {}"])  # doctest: +SKIP
    """
    config = ZeroShotConfig(tuple(templates))

    def make(towers: AudioText, corpus: Corpus) -> _Made:
        return ZeroShotTask(towers, config), {"text": config}, {}

    return _evaluate(
        ZERO_SHOT, model, data, make, named=() if labels == "label" else (labels,), label=labels, source=source,
        controls=controls, confidence=confidence, seed=seed, channel=channel, time_expansion=time_expansion,
        on_leak=on_leak, out=out, device=device, precision=precision, command=command, progress=progress,
    )  # fmt: skip


def text_retrieval(
    model: str | Path | AudioText,
    data: str | Path | Corpus,
    *,
    columns: Sequence[str] = (),
    captions: str | Path | Captions | None = None,
    source: str = "source",
    controls: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    on_leak: OnLeak = "warn",
    out: str | Path | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    command: str | None = None,
    progress: bool = True,
) -> TextResults:
    """Search clips by captions and captions by clips, and write the results into the run folder.

    Finished results (same run, corpus and settings) are not computed again.

    Args:
        model: as for `zero_shot`.
        data: as for `zero_shot`.
        columns: columns of captions, of the corpus or of the table; none: `caption` of the corpus, or all of the table
            whose name begins or ends so.
        captions: a table (`file` and columns of captions); None: the corpus's own columns, and `captions.csv` in its
            folder where neither columns are named nor the corpus has a column `caption`.
        source: as for `zero_shot`; captions are drawn one by one.
        controls: as for `zero_shot`.
        confidence: as for `zero_shot`.
        seed: as for `zero_shot`.
        channel: as for `zero_shot`.
        time_expansion: as for `zero_shot`.
        on_leak: as for `zero_shot`.
        out: as for `zero_shot`; None: `RUN/text-retrieval/CORPUS.json` (`CORPUS-COLUMNS.json` where columns are named).
        device: as for `zero_shot`.
        precision: as for `zero_shot`.
        command: as for `zero_shot`.
        progress: show progress bars.

    Raises:
        CheckpointError: there is no such run, or it was not trained on captions.
        CorpusError: the corpus or the table can't be opened, or there are no captions.
        ConfigError: a setting is out of range.

    Examples:
        >>> import auricle
        >>> found = auricle.text_retrieval("runs/clap", "recordings")  # doctest: +SKIP
    """
    probes = {
        name: probe.replace(columns=tuple(columns) or ("caption",)) for name, probe in TextRetrievalTask.probes.items()
    }

    if on_leak == "drop" and isinstance(captions, Captions):
        raise ConfigError("captions that were read already are of all clips; name their table to drop clips")

    def make(towers: AudioText, corpus: Corpus) -> _Made:
        table = captions if isinstance(captions, Captions) else _captions(corpus, columns, captions)
        return TextRetrievalTask(towers, columns or ("caption",), table), probes, {"captions": _digest(table)}

    return _evaluate(
        TEXT_RETRIEVAL, model, data, make, named=columns, label="caption", source=source, controls=controls,
        confidence=confidence, seed=seed, channel=channel, time_expansion=time_expansion, on_leak=on_leak, out=out,
        device=device, precision=precision, command=command, progress=progress,
    )  # fmt: skip


def _evaluate(
    kind: str,
    model: str | Path | AudioText,
    data: str | Path | Corpus,
    make: Callable[[AudioText, Corpus], _Made],
    *,
    named: Sequence[str],
    label: str,
    source: str,
    controls: bool,
    confidence: float,
    seed: int,
    channel: str | int | None,
    time_expansion: float | None,
    on_leak: OnLeak,
    out: str | Path | None,
    device: str,
    precision: Precision,
    command: str | None,
    progress: bool,
) -> TextResults:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; expected a number between 0 and 1, such as 0.95")
    towers = model if isinstance(model, AudioText) else open_audio_text(model, device=device, precision=precision)
    corpus = read_as(data if isinstance(data, Corpus) else open_corpus(data), channel, time_expansion)
    known = Seen(None) if towers.run is None else seen(towers.run, corpus, each=True, progress=progress)
    whole, corpus = corpus, known.apply(corpus, on_leak)
    copies = _copies(known, whole, len(whole) - len(corpus))
    pairs: list[tuple[AudioText, Role]] = [(towers, "pretrained")]
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in "-".join([corpus.name, *named]))
    path = None if out is None else Path(out)
    if not isinstance(model, AudioText):
        path = path or (towers.run or Path(model)) / kind / f"{name}.json"
        if controls:
            pairs.append((untrained_audio_text(model, towers, seed), "random"))
    card = TaskCard(name=f"{kind}-{name}", corpus=corpus.name, label=label, source=source)
    protocol = Protocol((seed,), SearchConfig(), None, False, confidence, seed)
    with tempfile.TemporaryDirectory() as nowhere:
        folder = Path(nowhere) if path is None else path.parent
        evaluations: list[Evaluation] = []
        for pair, role in pairs:
            task_type, probes, facts = make(pair, corpus)
            plan = task_type.plan(card, corpus, seed)
            task = PlannedTask(card, corpus, task_type, plan, protocol, folder, command=command, listed=path)
            evaluated = EvaluatedEncoder(pair.encoder, role, False)
            if role == "pretrained":
                task = replace(task, copies=lambda: copies)
                evaluated = replace(evaluated, seen=False if len(corpus) < len(whole) else known.known)
            evaluations += [
                _TextEvaluation(
                    task, evaluated, probe, config, None, {**config.to_json(), **facts, "towers": pair.fingerprint}
                )
                for probe, config in probes.items()
            ]
        results = drive(evaluations, _embedder(corpus, progress), progress=progress)
        each = len(results) // len(pairs)
        scores = [TextScores.of(results[i : i + each], folder) for i in range(0, len(results), each)]
    control = scores[1] if len(scores) > 1 else None
    if path is not None:
        record: dict[str, Any] = {
            "run": towers.name if isinstance(model, AudioText) else str(model),
            "encoder": {"name": towers.name, "fingerprint": towers.encoder.fingerprint},
            "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint, "clips": len(corpus)},
            "command": command,
            "versions": versions(),
            **scores[0].to_json(),
            "control": None if control is None else control.to_json(),
        }
        write_json(path, record)
    return TextResults(results, scores[0], control, path)


def _copies(known: Seen, corpus: Corpus, dropped: int) -> dict[str, Any]:
    """Return what is to say of clips that were seen in training, as `evaluation.leaks.check_leaks` does of copies."""
    said = [*known.notes]
    if known.known:
        said.append(
            f"{counted(dropped, 'clip')} {was(dropped)} removed for that"
            if dropped
            else f"clips of {corpus.name} were seen in training, with their captions: these are not new clips"
        )
    clips = dict(Counter(known.rows.values()))
    return {"clips": clips, "of": len(corpus), "dropped": dropped, "said": said} if said else {}


def _embedder(corpus: Corpus, progress: bool) -> Callable[[Evaluation], EmbeddedClips]:
    """Return `drive`'s `open_cache` that embeds the clips once for each pair of towers."""
    embedded: dict[int, EmbeddedClips] = {}

    def embed(one: Evaluation) -> EmbeddedClips:
        kind: Any = one.task.task_type
        if id(kind) not in embedded:
            embedded[id(kind)] = kind.towers.embed(corpus, one.task.plan.rows, progress=progress)
        return embedded[id(kind)]

    return embed


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


def _digest(captions: Captions | None) -> str:
    if captions is None:
        return ""
    text = json.dumps([captions.rows.tolist(), list(captions.texts)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
