"""Types of task for encoders that are trained on them: labelled clips, and clips with a number."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.config import Config
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.finetuning.clips import Clips
from auricle.finetuning.config import MODES, FinetuneConfig
from auricle.finetuning.fold import FoldTuning, Tuned
from auricle.finetuning.model import TunedModel, plain_encoder
from auricle.models.folder import read_card, save_model
from auricle.models.heads import Head
from auricle.models.older import tuned_name
from auricle.probes import LossConfig, get_loss
from auricle.probes.cost import encoder_macs
from auricle.probes.losses import Scaling
from auricle.probes.search.selection import ERRORS, default_metric, validate
from auricle.results.predictions import TaskPredictions
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.run import ClipsTask
from auricle.tasks.folds import Fold, training_means
from auricle.tasks.regression.answers import RegressionPredictions
from auricle.tasks.regression.rule import RegressionRule
from auricle.tasks.regression.run import RegressionTask
from auricle.tasks.targets import Targets, mute_unseen
from auricle.tasks.task_type import Job, Kept, Outcome, TaskType


@dataclass(frozen=True)
class TunedTask(TaskType):
    """Base of types of task whose encoders are trained; plans and headlines are those of the type.

    Attributes:
        clips: decoded clips.
        checkpoint_minutes: between checkpoints.
        keep: fingerprint of the encoder whose best model is saved; "": none.
    """

    probes: ClassVar[Mapping[str, Config]] = {f"finetune_{mode}": FinetuneConfig(mode=mode) for mode in MODES}
    default_probes: ClassVar[tuple[str, ...]] = ("finetune_full",)

    clips: Clips
    checkpoint_minutes: float = 1.0
    keep: str = ""

    def layers(self, probe: Config) -> None:
        # Fine-tuning reads no cached tokens.
        return None

    @abstractmethod
    def known(self, job: Job) -> Targets:
        """Return what is to be predicted of the clips that could be read."""

    @abstractmethod
    def aim(self, job: Job, config: FinetuneConfig, known: Targets) -> tuple[FinetuneConfig, LossConfig, str]:
        """Return the settings, the training loss, and the metric that selects the epoch.

        Raises:
            ConfigError: a setting does not fit the type.
        """

    def scaled(self, known: Targets, fold: Fold) -> tuple[Targets, Scaling | None]:
        """Return the targets that are trained on in a fold, and their scaling."""
        return known, None

    @abstractmethod
    def tested(self, tuned: Tuned, known: Targets, fold: Fold, scaling: Scaling | None) -> NDArray[np.floating]:
        """Return what a trained model predicts of the test clips of a fold, `(n, C)`."""

    @abstractmethod
    def predictions(self, job: Job, known: Targets, units: dict[str, Any], rows: Any, scores: Any) -> TaskPredictions:
        """Return the predictions of all test clips, of scores `(S, n, C)`."""

    @abstractmethod
    def constant(self, predictions: Any, means: NDArray[np.float64]) -> tuple[str, TaskPredictions]:
        """Return predictions that ignore the sound, see `Outcome`."""

    @abstractmethod
    def head(self, job: Job, model: TunedModel, known: Targets, loss: LossConfig, scaling: Scaling | None) -> Head:
        """Return the trained head as a fitted model keeps it."""

    def run(self, job: Job) -> Outcome:
        folds, known = job.readable(job.plan.folds), self.known(job)
        config, loss, metric = self.aim(job, job.probe_as(FinetuneConfig), known)
        seeds, parts = job.protocol.seeds, len(folds) * len(job.protocol.seeds)
        scores, heads = [], []
        for place, fold in enumerate(folds):
            by_seed = []
            for number, seed in enumerate(seeds):
                done = place * len(seeds) + number
                name = f"fold-{place}-seed-{seed}"

                def fit(fold: Any = fold, seed: int = seed, done: int = done, name: str = name) -> Kept:
                    targets, scaling = self.scaled(known, fold)
                    tuning = FoldTuning(
                        job.encoder, self.clips, targets, fold, config, loss=loss, metric=metric, seed=seed,
                        path=job.folder / f"{name}.safetensors", device=job.device,
                        checkpoint_minutes=self.checkpoint_minutes,
                    )  # fmt: skip
                    tuned = tuning.run(lambda epochs: job.progress((done + epochs / config.epochs) / parts))
                    if self.keep == job.encoder.fingerprint:
                        chosen = {**tuned.chosen, "rank": tuned.validation}
                        self._keep_best(
                            job, config, self.head(job, tuned.model, known, loss, scaling), tuned.model, chosen
                        )
                    head = {"chosen": tuned.chosen, "params": tuned.params, "history": tuning.at.history}
                    return head, {"scores": self.tested(tuned, known, fold, scaling)}

                head, arrays = job.kept(name, fit)
                # The finished part takes the place of its checkpoint, which is several times the model's size.
                (job.folder / f"{name}.safetensors").unlink(missing_ok=True)
                job.progress((done + 1) / parts)
                heads.append(head)
                by_seed.append(arrays["scores"])
            scores.append(np.stack(by_seed))
        tested, units = job.test_units(folds)
        predictions = self.predictions(job, known, {**units, "seeds": seeds}, tested, np.concatenate(scores, axis=1))
        seconds = np.asarray(job.corpus.column("seconds"), dtype=np.float64)[known.rows]
        head_macs = job.encoder.pooled_width * len(known.classes)
        return Outcome(
            predictions=predictions,
            fold_names=[fold.name for fold in folds],
            sizes=[[len(fold.train), len(fold.valid), len(fold.test)] for fold in folds],
            units_total=sum(len(fold.test) for fold in job.plan.folds),
            chosen=[_together([h["chosen"] for h in heads if h["chosen"]["fold"] == fold.name]) for fold in folds],
            tried=1,
            params=heads[0]["params"],
            macs=encoder_macs(job.encoder, float(np.median(seconds))) + head_macs,
            settings={"finetune": config.to_json(), "loss": loss.to_json(), "metric": metric, "epochs": config.epochs},
            refit=False,
            notes=[*_notes(job.encoder, config, heads, seconds), *self._saved_note(job, len(heads))],
            constant=self.constant(predictions, training_means(known.truth, folds)),
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
        self, job: Job, config: FinetuneConfig, head: Head, model: TunedModel, chosen: dict[str, Any]
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
            head,
            card=card,
            encoder=plain_encoder(model.encoder),
            name=tuned_name(job.encoder.name, card),
            notes=(f"fine-tuned ({config.mode}) with the labels of {job.corpus.name}",),
        )


@dataclass(frozen=True)
class FinetuneTask(TunedTask, ClipsTask):
    """Labelled clips for encoders that are trained on them."""

    def known(self, job: Job) -> Targets:
        targets: Targets = job.plan.payload[0]
        return replace(targets, rows=targets.rows[job.present], truth=targets.truth[job.present])

    def aim(self, job: Job, config: FinetuneConfig, known: Targets) -> tuple[FinetuneConfig, LossConfig, str]:
        loss = get_loss(config.loss or job.card.training_loss(known.kind))
        return config, loss, _metric(config, job.plan.payload[0], loss, job.training["search"].metric)

    def tested(self, tuned: Tuned, known: Targets, fold: Fold, scaling: Scaling | None) -> NDArray[np.floating]:
        return mute_unseen(tuned.scores, known.truth[fold.train])

    def predictions(self, job: Job, known: Targets, units: dict[str, Any], rows: Any, scores: Any) -> ClipPredictions:
        truth = known.truth[rows]
        return ClipPredictions(kind=known.kind, classes=known.classes, **units, truth=truth, scores=scores)

    def constant(self, predictions: ClipPredictions, means: NDArray[np.float64]) -> tuple[str, ClipPredictions]:
        return predictions.constant(means)

    def head(self, job: Job, model: TunedModel, known: Targets, loss: LossConfig, scaling: Scaling | None) -> Head:
        return model.saved_head(known.classes, loss)


@dataclass(frozen=True)
class FinetuneNumbers(TunedTask, RegressionTask):
    """Clips with a number for encoders that are trained on them; the loss is that of the standardised number."""

    def known(self, job: Job) -> Targets:
        # Numbers take the place of labels: training and selection are the same for both.
        truth: Any = job.plan.payload[0][job.present, None]
        return Targets("multi", ("value",), job.plan.rows[job.present], truth)

    def aim(self, job: Job, config: FinetuneConfig, known: Targets) -> tuple[FinetuneConfig, LossConfig, str]:
        loss = get_loss(config.loss or job.card.loss or "mse")
        if not loss.regression:
            raise ConfigError(f"loss {loss.name!r} is for labels; use mse, mae or huber for numbers")
        if config.balanced:
            raise ConfigError("balanced draws clips by their labels, and this task has numbers; leave --balanced out")
        metric = config.metric or job.training["search"].metric or default_metric(False, True)
        validate(metric, torch.from_numpy(known.truth.astype(np.float32)), regression=True)
        # Mixing two clips mixes their labels, which is no rule for numbers such as a pitch.
        return config.replace(mixup=config.mixup or 0.0), loss, metric

    def scaled(self, known: Targets, fold: Fold) -> tuple[Targets, Scaling | None]:
        truth = torch.from_numpy(known.truth.astype(np.float64))
        scaling = Scaling.of(truth[fold.train])
        reduced: Any = scaling.reduce(truth).numpy()
        return replace(known, truth=reduced), scaling

    def tested(self, tuned: Tuned, known: Targets, fold: Fold, scaling: Scaling | None) -> NDArray[np.floating]:
        if scaling is None:
            return tuned.scores
        if tuned.chosen["metric"] in ERRORS:
            tuned.chosen["validation"] *= scaling.spread[0]
        return scaling.restore(torch.from_numpy(tuned.scores).double()).numpy()

    def predictions(
        self, job: Job, known: Targets, units: dict[str, Any], rows: Any, scores: Any
    ) -> RegressionPredictions:
        truth, unit = known.truth[rows, 0].astype(np.float64), job.card.rule_as(RegressionRule).unit
        return RegressionPredictions(**units, truth=truth, predicted=scores[..., 0].astype(np.float64), unit=unit)

    def constant(
        self, predictions: RegressionPredictions, means: NDArray[np.float64]
    ) -> tuple[str, RegressionPredictions]:
        return predictions.constant(means[:, 0])

    def head(self, job: Job, model: TunedModel, known: Targets, loss: LossConfig, scaling: Scaling | None) -> Head:
        head = model.saved_head(known.classes, loss)
        spread, mean = (scaling.spread[0], scaling.mean[0]) if scaling is not None else (1.0, 0.0)
        details = {"unit": job.card.rule_as(RegressionRule).unit}
        weight, bias = head.weight * spread, head.bias * spread + mean
        return replace(head, kind="regression", details=details, weight=weight, bias=bias)


TUNED: dict[str, type[TunedTask]] = {"clips": FinetuneTask, "regression": FinetuneNumbers}


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
