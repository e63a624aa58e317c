"""Fine-tune encoders: folds, scores, intervals and records as in `evaluate`, with trained weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.corpus.table import Corpus
from auricle.devices import find_device
from auricle.encoders.features import FeaturesConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.driver import EvaluatedEncoder, Evaluation, PlannedTask, drive
from auricle.evaluation.leaks import OnLeak, check_leaks
from auricle.evaluation.probing import evaluated_on, open_model, open_task_corpus
from auricle.evaluation.token_store import progress_bar
from auricle.finetuning.clips import Clips
from auricle.finetuning.config import FinetuneConfig
from auricle.finetuning.tasks import TUNED
from auricle.models import Model
from auricle.models.folder import check_savable
from auricle.probes import SearchConfig
from auricle.results.record import Result
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.task_type import Protocol
from auricle.tasks.types import task_type
from auricle.training.batch_statistics import settle_control
from auricle.training.lock import RunLock

_DEFAULTS = FinetuneConfig()


def finetune_encoder(
    encoder: FrozenEncoder | EvaluatedEncoder,
    task: str | TaskCard,
    corpus: Corpus,
    *,
    out: Path | str,
    config: FinetuneConfig = _DEFAULTS,
    seeds: int = 1,
    controls: bool = True,
    save: bool = True,
    confidence: float = 0.95,
    split_seed: int = 0,
    cache_mb: int = 1024,
    checkpoint_minutes: float = 1.0,
    device: str = "auto",
    on_leak: OnLeak = "warn",
    command: str | None = None,
    progress: bool = True,
) -> list[Result]:
    """Fine-tune an encoder on labelled clips, or on clips with a number, on every fold with every seed.

    Folds are those of `evaluate`, so results can be compared clip by clip. In each fold, the epoch with the best
    validation score predicts the test clips; validation clips are never trained on. Results go to `out/results.jsonl`;
    finished ones are not computed again, and a stopped run continues within the fold where it stopped.

    Args:
        encoder: the encoder to start from; it is not changed.
        task: name of a task card, or a card.
        corpus: its clips.
        out: folder for results, usually `RUN/finetune/TASK`.
        config: what is trained and how.
        seeds: number of seeds (0, 1, 2, ...) of the head, the order of clips and everything else that is drawn.
        controls: fine-tune the same architecture from random weights, too.
        save: keep the encoder with the best validation score of all folds and seeds and its classifier, for
            `auricle.load` (in `out/finetuned/`; not the control's).
        confidence: coverage of the interval.
        split_seed: of folds and validation clips where the corpus has none.
        cache_mb: memory for decoded clips.
        checkpoint_minutes: minutes between checkpoints; at most this much work is lost when the process is killed.
        device: where to train: `auto`, `cpu`, `cuda` or `mps`.
        on_leak: what happens where test clips are copies of training clips, as in `EvaluationConfig`.
        command: recorded as the command; None: that of this process.
        progress: show progress bars.

    Returns:
        The encoder's result, then its control's.

    Raises:
        CorpusError: the corpus does not serve the task.
        ConfigError: the task is of another type, no seed, or a setting that does not fit the encoder.
        TrainingError: the loss is not finite.
        CheckpointError: another process is fine-tuning in `out`.
        MissingExtraError: `lora` without peft.
    """
    card = get_task(task) if isinstance(task, str) else task
    if card.rule.type_name not in TUNED:
        raise ConfigError(
            f"task {card.name!r} is of type {card.rule.type_name}; fine-tuning takes tasks of type "
            f"{' or '.join(TUNED)}: choose one with --task (`auricle tasks` lists them by type)"
        )
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; expected at least one seed to fine-tune with")
    pretrained = encoder if isinstance(encoder, EvaluatedEncoder) else EvaluatedEncoder(encoder)
    candidates = [pretrained]
    if controls:
        candidates.append(EvaluatedEncoder(settle_control(pretrained.encoder.randomised(0)), "random", False))
    if save:
        check_savable(pretrained.encoder)
    device = str(find_device(device))
    division = task_type(card)
    plan = division.plan(card, corpus, split_seed)
    corpus, plan, copies = check_leaks(division, card, corpus, plan, on_leak, seed=split_seed, progress=progress)
    clips = Clips(corpus, pretrained.encoder.rate, cache_mb)
    kind = TUNED[card.rule.type_name](clips, checkpoint_minutes, pretrained.encoder.fingerprint if save else "")
    # The search is no part of this protocol: one setting is trained, validation chooses its epoch.
    protocol = Protocol(tuple(range(seeds)), SearchConfig(), None, False, confidence, split_seed)
    planned = PlannedTask(card, corpus, kind, plan, protocol, Path(out), device, command, copies=copies)
    name = f"finetune_{config.mode}"
    evaluations = [Evaluation(planned, evaluated, name, config) for evaluated in candidates]
    read: list[_Readable] = []

    def open_cache(one: Evaluation) -> _Readable:
        one.evaluated.encoder.to(device)
        if not read:
            read.append(_read_clips(clips, plan.rows, progress))
        return read[0]

    with RunLock(Path(out), "fine-tuning by another process"):
        return drive(evaluations, open_cache, progress=progress)


def finetune(
    model: str | Path | Model,
    *,
    task: str | TaskCard,
    data: str | Path | Corpus | None = None,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
    features: str | FeaturesConfig = "recipe",
    **settings: Any,
) -> list[Result]:
    """Fine-tune a model on labelled clips, or on clips with a number.

    Args:
        model: a model, or what `auricle.load` opens.
        task: name of a task card, or a card.
        data: the task's audio; None: as its card says.
        channel: channel that is read, see `auricle.corpus.reading.read_as`.
        time_expansion: how many times slower recordings are played, see there.
        out: folder for results; None: `RUN/finetune/TASK`.
        device: where to train.
        trust_remote_code: see `auricle.load`.
        features: see `auricle.load`; the classifier reads them.
        settings: all others of `finetune_encoder`.

    Raises:
        CheckpointError: there is no such model, or another process is fine-tuning in `out`.
        CorpusError: there is no such audio, or as `finetune_encoder`.

    Examples:
        >>> from auricle.finetuning.run import finetune
        >>> finetune("runs/mine", task="esc10", data="recordings", seeds=3)  # doctest: +SKIP
    """
    card = get_task(task) if isinstance(task, str) else task
    corpus = open_task_corpus(card, data, channel, time_expansion)
    opened = open_model(model, device, "fp32", trust_remote_code, features)
    out = out if out is not None else opened.folder / "finetune" / card.name
    return finetune_encoder(evaluated_on(opened, corpus), card, corpus, out=out, device=device, **settings)


@dataclass(frozen=True)
class _Readable:
    """The two facts that an evaluation asks of a token cache, for clips that are read as audio."""

    present: NDArray[np.int64]
    missing: dict[int, str] = field(default_factory=dict)


def _read_clips(clips: Clips, rows: NDArray[np.int64], progress: bool) -> _Readable:
    with progress_bar(progress) as bar:
        line = bar.add_task(f"clips of {clips.corpus.name}", total=len(rows))
        present = clips.read_all(rows.tolist(), lambda done: bar.update(line, completed=done))
    if not len(present):
        row, reason = min(clips.missing.items())
        raise CorpusError(
            f"not one of {len(rows)} clips of {clips.corpus.name} can be read; the first, {clips.corpus[row].file}: "
            f"{reason}"
        )
    return _Readable(present, clips.missing)
