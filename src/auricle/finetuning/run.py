"""Fine-tune encoders on labelled clips: folds, scores, intervals and records as in `evaluate`, with trained weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.config import Config
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
from auricle.finetuning.config import MODES, FinetuneConfig
from auricle.finetuning.fold import FoldTuning
from auricle.finetuning.model import plain_encoder
from auricle.models import Model
from auricle.models.folder import check_savable, read_card, save_model
from auricle.models.older import tuned_name
from auricle.probes import LossConfig, SearchConfig, get_loss
from auricle.probes.cost import encoder_macs
from auricle.probes.search.selection import default_metric, validate
from auricle.results.record import Result
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.rule import ClipsRule
from auricle.tasks.clips.run import ClipsTask
from auricle.tasks.folds import training_means
from auricle.tasks.targets import Targets, mute_unseen
from auricle.tasks.task_type import Job, Kept, Outcome, Protocol
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
    """Fine-tune an encoder on a task of labelled clips, on every fold with every seed.

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
        ConfigError: the task is not one of labelled clips, no seed, or a setting that does not fit the encoder.
        TrainingError: the loss is not finite.
        CheckpointError: another process is fine-tuning in `out`.
        MissingExtraError: `lora` without peft.
    """
    card = get_task(task) if isinstance(task, str) else task
    card.rule_as(ClipsRule, "fine-tuning")
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; expected at least one seed to fine-tune with")
    pretrained = encoder if isinstance(encoder, EvaluatedEncoder) else EvaluatedEncoder(encoder)
    candidates = [pretrained]
    if controls:
        candidates.append(EvaluatedEncoder(settle_control(pretrained.encoder.randomised(0)), "random", False))
    if save:
        check_savable(pretrained.encoder)
    device = str(find_device(device))
    division = ClipsTask()
    plan = division.plan(card, corpus, split_seed)
    corpus, plan, copies = check_leaks(division, card, corpus, plan, on_leak, seed=split_seed, progress=progress)
    clips = Clips(corpus, pretrained.encoder.rate, cache_mb)
    kind = FinetuneTask(clips, checkpoint_minutes, pretrained.encoder.fingerprint if save else "")
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
    """Fine-tune a model on a task of labelled clips.

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


@dataclass(frozen=True)
class FinetuneTask(ClipsTask):
    """Labelled clips for encoders that are trained on them; plans and headlines are those of `ClipsTask`.

    Attributes:
        clips: decoded clips.
        checkpoint_minutes: between checkpoints.
        keep: fingerprint of the encoder whose best model is saved; "": none.
    """

    probes: ClassVar[dict[str, Config]] = {f"finetune_{mode}": FinetuneConfig(mode=mode) for mode in MODES}
    default_probes: ClassVar[tuple[str, ...]] = ("finetune_full",)

    clips: Clips
    checkpoint_minutes: float = 1.0
    keep: str = ""

    def layers(self, probe: Config) -> None:
        # Fine-tuning reads no cached tokens.
        return None

    def run(self, job: Job) -> Outcome:
        config, (targets, plan) = job.probe, job.plan.payload
        if not isinstance(config, FinetuneConfig):
            raise ConfigError(f"found settings {type(config).__name__}; expected a FinetuneConfig")
        here = job.present
        folds = job.readable(plan.folds)
        known: Targets = replace(targets, rows=targets.rows[here], truth=targets.truth[here])
        loss = get_loss(config.loss or job.card.training_loss(targets.kind))
        metric = _metric(config, targets, loss, job.training["search"].metric)
        seeds, parts = job.protocol.seeds, len(folds) * len(job.protocol.seeds)
        scores, heads = [], []
        for place, fold in enumerate(folds):
            by_seed = []
            for number, seed in enumerate(seeds):
                done = place * len(seeds) + number
                name = f"fold-{place}-seed-{seed}"

                def fit(fold: Any = fold, seed: int = seed, done: int = done, name: str = name) -> Kept:
                    tuning = FoldTuning(
                        job.encoder, self.clips, known, fold, config, loss=loss, metric=metric, seed=seed,
                        path=job.folder / f"{name}.safetensors", device=job.device,
                        checkpoint_minutes=self.checkpoint_minutes,
                    )  # fmt: skip
                    tuned = tuning.run(lambda epochs: job.progress((done + epochs / config.epochs) / parts))
                    if self.keep == job.encoder.fingerprint:
                        chosen = {**tuned.chosen, "rank": tuned.validation}
                        self._keep_best(job, config, known, loss, tuned.model, chosen)
                    head = {"chosen": tuned.chosen, "params": tuned.params, "history": tuning.at.history}
                    return head, {"scores": mute_unseen(tuned.scores, known.truth[fold.train])}

                head, arrays = job.kept(name, fit)
                # The finished part takes the place of its checkpoint, which is several times the model's size.
                (job.folder / f"{name}.safetensors").unlink(missing_ok=True)
                job.progress((done + 1) / parts)
                heads.append(head)
                by_seed.append(arrays["scores"])
            scores.append(np.stack(by_seed))
        tested, units = job.test_units(folds)
        predictions = ClipPredictions(
            kind=targets.kind,
            classes=targets.classes,
            **units,
            truth=known.truth[tested],
            scores=np.concatenate(scores, axis=1),
            seeds=seeds,
        )
        seconds = np.asarray(job.corpus.column("seconds"), dtype=np.float64)[known.rows]
        head_macs = job.encoder.pooled_width * len(targets.classes)
        return Outcome(
            predictions=predictions,
            fold_names=[fold.name for fold in folds],
            sizes=[[len(fold.train), len(fold.valid), len(fold.test)] for fold in folds],
            units_total=sum(len(fold.test) for fold in plan.folds),
            chosen=[_together([h["chosen"] for h in heads if h["chosen"]["fold"] == fold.name]) for fold in folds],
            tried=1,
            params=heads[0]["params"],
            macs=encoder_macs(job.encoder, float(np.median(seconds))) + head_macs,
            settings={"finetune": config.to_json(), "loss": loss.to_json(), "metric": metric, "epochs": config.epochs},
            refit=False,
            notes=[*_notes(job.encoder, config, heads, seconds), *self._saved_note(job, len(heads))],
            constant=predictions.constant(training_means(known.truth, folds)),
            details={"training": [{**h["chosen"], "history": h["history"]} for h in heads]},
        )

    def _saved_note(self, job: Job, trainings: int) -> list[str]:
        held = read_card(_place(job)) if self.keep == job.encoder.fingerprint else None
        if held is None or trainings == 1:
            return []
        return [
            f"the saved model is one of {trainings} trainings (fold {held['fold']}, seed {held['seed']}); the score is "
            "of all of them, each on the test clips of its own fold"
        ]

    def _keep_best(
        self, job: Job, config: FinetuneConfig, targets: Targets, loss: LossConfig, model: Any, chosen: dict[str, Any]
    ) -> None:
        folder = _place(job)
        held = read_card(folder)
        if held is not None and held["rank"] >= chosen["rank"]:
            return
        card = {"task": job.card.name, "corpus": job.corpus.name, "mode": config.mode, **chosen}
        card["settings"] = config.to_json()
        save_model(
            folder,
            job.encoder,
            model.saved_head(targets.classes, loss),
            card=card,
            encoder=plain_encoder(model.encoder),
            name=tuned_name(job.encoder.name, card),
            notes=(f"fine-tuned ({config.mode}) with the labels of {job.corpus.name}",),
        )


def _place(job: Job) -> Path:
    return job.folder.parent.parent / "finetuned" / job.folder.name


def _metric(config: FinetuneConfig, targets: Targets, loss: LossConfig, headline: str | None) -> str:
    if loss.regression or (loss.single and targets.kind == "multi"):
        raise ConfigError(
            f"loss {loss.name!r} does not fit {targets.kind}-label clips; use "
            + ("'ce', 'bce' or 'asl'" if targets.kind == "single" else "'bce' or 'asl'")
        )
    metric = config.metric or headline or default_metric(targets.kind == "single")
    every = torch.from_numpy(targets.truth)
    validate(metric, every.long().argmax(1) if targets.kind == "single" else every.float())
    return metric


def _together(chosen: list[dict[str, Any]]) -> dict[str, Any]:
    """One record a fold: its name and metric, and lists over seeds of the rest."""
    first = chosen[0]
    lists = {name: [c[name] for c in chosen] for name in ("seed", "epoch", "validation")}
    return {"fold": first["fold"], **lists, "metric": first["metric"]}


def _notes(
    encoder: FrozenEncoder, config: FinetuneConfig, heads: list[dict[str, Any]], seconds: NDArray[np.float64]
) -> list[str]:
    notes = ["no setting was searched; validation clips chose the epoch"]
    last = sum(h["chosen"]["epoch"] == config.epochs for h in heads)
    if last > len(heads) / 2:
        notes.append(f"{last} of {len(heads)} trainings were best at their last epoch: more epochs may help")
    ragged = float(np.ptp(seconds)) > 0.01
    if ragged and not encoder.exact_padding and config.batch > 1:
        notes.append("clips of several lengths were padded in training, which changes what is read of this encoder")
    if config.spec_freq > 0 and not isinstance(encoder.frontend, SpectralFrontEnd):
        notes.append("this front end has no frequency bands: only time was masked")
    return notes
