"""Fine-tune encoders on labelled clips: folds, scores, intervals and records as in `evaluate`, with trained weights."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Ability
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.study import EvaluatedEncoder, Study
from auricle.finetune.clips import Clips
from auricle.finetune.config import MODES, FinetuneConfig
from auricle.finetune.fold import FoldTuning
from auricle.finetune.model import plain_encoder
from auricle.models.finetuned import check_savable, read_card, save_finetuned
from auricle.probes import LossConfig, SearchConfig, get_loss
from auricle.probes.cost import encoder_macs
from auricle.probes.search.selection import default_metric, validate
from auricle.results.record import Result, append_result, read_results
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.rule import ClipsRule
from auricle.tasks.clips.run import ClipsTask
from auricle.tasks.targets import Targets, mute_unseen
from auricle.tasks.task_type import Job, Kept, Outcome, Protocol
from auricle.tokens.cache import TokenCache


def finetune(
    encoder: FrozenEncoder | EvaluatedEncoder,
    card: TaskCard,
    corpus: Corpus,
    *,
    out: Path | str,
    config: FinetuneConfig | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    with_control: bool = True,
    seen: bool | None = None,
    save: bool = True,
    resamples: int = 1000,
    confidence: float = 0.95,
    split_seed: int = 0,
    cache_mb: int = 1024,
    checkpoint_minutes: float = 1.0,
    device: str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> list[Result]:
    """Fine-tune an encoder on a task of labelled clips, on every fold with every seed.

    Folds are those of `evaluate`, so the two compare clip by clip. In each, the epoch that validates best judges the
    test clips; validation clips never train. Results go to `out/results.jsonl`. What is there is not computed again,
    and a stopped run goes on within the fold where it stopped.

    Args:
        encoder: what to start from; it is not changed.
        card: the task.
        corpus: its clips.
        out: folder for results, usually `RUN/finetune/TASK`.
        config: what is trained and how.
        seeds: of the head, the order of clips and all that is drawn.
        with_control: fine-tune the same architecture from random weights too.
        seen: whether the encoder was pre-trained on this audio.
        save: keep the encoder that validated best of all folds and seeds, with its classifier, for `load_finetuned`
            (in `out/finetuned/`; not the control's).
        resamples: bootstrap samples of the interval.
        confidence: coverage of the interval.
        split_seed: of folds and validation clips where the corpus has none.
        cache_mb: memory for decoded clips.
        checkpoint_minutes: at most so much work is lost when the process is killed.
        device: where to train.
        command: what to record as the command; None: that of this process.
        progress: show progress bars.

    Returns:
        The encoder's result, then its control's.

    Raises:
        CorpusError: the corpus can't serve the task.
        ConfigError: the task is not one of labelled clips, no seed, or a setting that does not fit the encoder.
        TrainingError: the loss is not finite.
        MissingExtraError: `lora` without peft.
    """
    config = config or FinetuneConfig()
    if not isinstance(card.rule, ClipsRule):
        raise ConfigError(
            f"task {card.name!r} is of type {type(card.rule).__name__}; only tasks of labelled clips can be fine-tuned"
        )
    if not seeds:
        raise ConfigError("no seed to fine-tune with; expected at least one")
    tested = encoder if isinstance(encoder, EvaluatedEncoder) else EvaluatedEncoder(encoder, seen=seen)
    candidates = [tested]
    if with_control:
        candidates.append(EvaluatedEncoder(tested.encoder.randomised(0), "random", False))
    if save:
        check_savable(tested.encoder)
    out = Path(out)
    clips = Clips(corpus, tested.encoder.rate, cache_mb)
    kind = FinetuneTask(clips, checkpoint_minutes, tested.encoder.fingerprint if save else "")
    plan = kind.plan(card, corpus, split_seed)
    # The search is no part of this protocol: one setting is trained, validation chooses its epoch.
    protocol = Protocol(tuple(seeds), SearchConfig(), None, False, resamples, confidence, split_seed)
    study = Study(card, corpus, kind, plan, protocol, out, command or _command(), device)
    known = {r.key: r for r in read_results(out)} if (out / "results.jsonl").is_file() else {}
    todo = [s for s in candidates if study.key(s, config) not in known]
    name = f"finetune_{config.mode}"
    made: dict[str, Result] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not progress) as bar:
        if todo:
            line = bar.add_task(f"clips of {corpus.name}", total=len(plan.rows))
            present = clips.read_all(plan.rows.tolist(), lambda done: bar.update(line, completed=done))
            if not len(present):
                row, reason = min(clips.missing.items())
                raise CorpusError(
                    f"not one of {len(plan.rows)} clips of {corpus.name} can be read; row {row}: {reason}"
                )
            cache = cast("TokenCache", _Readable(present, clips.missing))
        epochs = len(plan.payload[1].folds) * len(seeds) * config.epochs
        for evaluated in todo:
            line = bar.add_task(f"{card.name}: {name} of {evaluated.encoder.name}", total=epochs)

            def tell(share: float, line: Any = line) -> None:
                bar.update(line, completed=share * epochs)

            evaluated.encoder.to(device)
            result = study.run(evaluated, name, config, cache, tell)
            append_result(out / "results.jsonl", result)
            made[result.key] = result
    results = []
    for evaluated in candidates:
        key = study.key(evaluated, config)
        result = made[key] if key in made else known[key]
        if (result.seen, result.role, result.encoder) != (evaluated.seen, evaluated.role, evaluated.encoder.name):
            result = replace(result, seen=evaluated.seen, role=evaluated.role, encoder=evaluated.encoder.name)
            append_result(out / "results.jsonl", result)
        results.append(result)
    return results


@dataclass(frozen=True)
class _Readable:
    """The two things that a study asks of a token cache, for a reader that needs no tokens."""

    present: NDArray[np.int64]
    missing: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FinetuneTask(ClipsTask):
    """Labelled clips, read by encoders that are trained for them; plans and headlines are those of `ClipsTask`.

    Attributes:
        clips: decoded clips.
        checkpoint_minutes: between checkpoints.
        keep: fingerprint of the encoder whose best model is kept; "": none.
    """

    probes: ClassVar[dict[str, Config]] = {f"finetune_{mode}": FinetuneConfig(mode=mode) for mode in MODES}
    default_probes: ClassVar[tuple[str, ...]] = ("finetune_full",)

    clips: Clips
    checkpoint_minutes: float = 1.0
    keep: str = ""

    def layers(self, probe: Config) -> None:
        """Fine-tuning reads no cached tokens."""

    def run(self, job: Job) -> Outcome:
        """Train every fold with every seed and put the test clips in a row."""
        config, (targets, plan) = job.probe, job.plan.payload
        if not isinstance(config, FinetuneConfig):
            raise ConfigError(f"{type(config).__name__} does not fine-tune; give a FinetuneConfig")
        here = job.here
        folds = job.readable(plan.folds)
        known: Targets = replace(targets, rows=targets.rows[here], truth=targets.truth[here])
        loss = get_loss(config.loss or job.card.training_loss(targets.kind))
        metric = _metric(config, targets, loss)
        seeds, parts = job.protocol.seeds, len(folds) * len(job.protocol.seeds)
        scores, heads = [], []
        for place, fold in enumerate(folds):
            by_seed = []
            for number, seed in enumerate(seeds):
                done = place * len(seeds) + number
                name = f"fold-{place}-seed-{seed}"

                def fit(fold: Any = fold, seed: int = seed, done: int = done, name: str = name) -> Kept:
                    tuning = FoldTuning(
                        job.encoder,
                        self.clips,
                        known,
                        fold,
                        config,
                        loss=loss,
                        metric=metric,
                        seed=seed,
                        path=job.folder / f"{name}.safetensors",
                        device=job.device,
                        checkpoint_minutes=self.checkpoint_minutes,
                    )
                    tuned = tuning.run(lambda epochs: job.tell((done + epochs / config.epochs) / parts))
                    if self.keep == job.encoder.fingerprint:
                        chosen = {**tuned.chosen, "rank": tuned.validation}
                        self._keep_best(job, config, known, loss, tuned.model, chosen)
                    head = {"chosen": tuned.chosen, "params": tuned.params, "history": tuning.at.history}
                    return head, {"scores": mute_unseen(tuned.scores, known.truth[fold.train])}

                head, arrays = job.kept(name, fit)
                # The finished part takes the place of its checkpoint, which is several times the model's size.
                (job.folder / f"{name}.safetensors").unlink(missing_ok=True)
                job.tell((done + 1) / parts)
                heads.append(head)
                by_seed.append(arrays["scores"])
            scores.append(np.stack(by_seed))
        tested = np.concatenate([fold.test for fold in folds])
        predictions = ClipPredictions(
            kind=targets.kind,
            classes=targets.classes,
            names=job.clip_names[here][tested],
            fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
            group=job.plan.groups[here][tested],
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
            notes=_notes(job.encoder, config, heads, seconds),
            details={"training": [{**h["chosen"], "history": h["history"]} for h in heads]},
        )

    def _keep_best(
        self, job: Job, config: FinetuneConfig, targets: Targets, loss: LossConfig, model: Any, chosen: dict[str, Any]
    ) -> None:
        folder = job.folder.parent.parent / "finetuned" / job.folder.name
        held = read_card(folder)
        if held is not None and held["rank"] >= chosen["rank"]:
            return
        card = {"task": job.card.name, "corpus": job.corpus.name, "mode": config.mode, **chosen}
        card["settings"] = config.to_json()
        save_finetuned(
            folder,
            plain_encoder(model.encoder),
            model.head,
            job.encoder,
            norm=model.norm == "layer",
            classes=targets.classes,
            loss=loss,
            card=card,
        )


def _metric(config: FinetuneConfig, targets: Targets, loss: LossConfig) -> str:
    if loss.regression or (loss.single and targets.kind == "multi"):
        raise ConfigError(
            f"loss {loss.name!r} does not fit {targets.kind}-label clips; use "
            + ("'ce', 'bce' or 'asl'" if targets.kind == "single" else "'bce' or 'asl'")
        )
    metric = config.metric or default_metric(targets.kind == "single")
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
        notes.append(f"{last} of {len(heads)} trainings were best at their last epoch: more epochs may do better")
    ragged = float(np.ptp(seconds)) > 0.01
    if ragged and Ability.EXACT_PADDING not in encoder.encoder.abilities and config.batch > 1:
        notes.append("clips of several lengths were padded in training, which changes this encoder's tokens")
    if config.spec_freq > 0 and not isinstance(encoder.frontend, SpectralFrontEnd):
        notes.append("this front end has no frequency bands: only time was masked")
    return notes


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
