"""Fine-tune one model on one fold with one seed; the epoch with the best validation score predicts the test clips.

A killed run resumes from its last checkpoint and reproduces exactly the result of an uninterrupted one: everything
drawn is a function of seed and step, and the checkpoint holds weights, moments, and the best epoch's weights.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.devices import autocast_dtype
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError, TrainingError
from auricle.finetuning.clips import Batches, Clips, longest_window, mask_spectrum, reading_order
from auricle.finetuning.config import FinetuneConfig
from auricle.finetuning.model import TunedModel
from auricle.probes.losses import LossConfig
from auricle.probes.search.selection import natural, score
from auricle.storage import write_atomic
from auricle.tasks.folds import Fold
from auricle.tasks.targets import Targets
from auricle.tensor_files import read_tensor_file, tensor_bytes
from auricle.training.optimiser import optimiser_tensors, restore_optimiser
from auricle.training.randomness import seed_layers, step_generator


@dataclass
class Progress:
    """Progress of a fold.

    Attributes:
        epoch: epochs done.
        best: the epoch with the best validation score, counted from 1; 0: none yet.
        score: its validation metric, higher is better.
        loss: its validation loss.
        history: training loss, validation loss and validation metric of each epoch.
    """

    epoch: int = 0
    best: int = 0
    score: float = -math.inf
    loss: float = math.inf
    history: list[dict[str, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Tuned:
    """Result of one fold and seed.

    Attributes:
        scores: `(n, C)` float32 probabilities of the test clips.
        chosen: the selected epoch and its validation score, JSON-ready.
        validation: its validation metric, higher is better.
        params: trained parameters.
        model: the model at that epoch, in evaluation mode.
    """

    scores: NDArray[np.float32]
    chosen: dict[str, Any]
    validation: float
    params: int
    model: TunedModel


class FoldTuning:
    """One fold, one seed.

    Args:
        frozen: the encoder to start from; it is not changed.
        clips: decoded clips.
        targets: labels of the clips.
        fold: positions in `targets.rows`.
        config: how to train.
        loss: the training loss.
        metric: selects the epoch.
        seed: of the head and of everything drawn.
        path: file of the checkpoint, which exists until the fold is done.
        device: where to train.
        checkpoint_minutes: minutes between checkpoints.
    """

    def __init__(
        self,
        frozen: FrozenEncoder,
        clips: Clips,
        targets: Targets,
        fold: Fold,
        config: FinetuneConfig,
        *,
        loss: LossConfig,
        metric: str,
        seed: int,
        path: Path,
        device: torch.device | str = "cpu",
        checkpoint_minutes: float = 1.0,
    ) -> None:
        self.clips, self.targets, self.fold, self.config = clips, targets, fold, config
        self.loss, self.metric, self.seed = loss, metric, seed
        self.path = path
        self.device, self.minutes = torch.device(device), checkpoint_minutes
        self.dtype = autocast_dtype(config.precision, self.device)
        self.precision = "fp32" if self.dtype is None else "bf16"
        self.model = TunedModel(frozen, len(targets.classes), config, seed).to(self.device)
        mixup = config.mixup if config.mixup is not None else (0.0 if targets.kind == "single" else 0.8)
        self.batches = Batches(
            clips,
            targets.rows[fold.train],
            targets.truth[fold.train],
            config,
            mixup=mixup,
            most=longest_window(frozen.frontend, frozen.encoder, config.max_seconds),
            seed=seed,
        )
        self.optimiser, self.peaks = self.model.optimiser(config)
        self._exact = frozen.exact_padding
        self.at = Progress()
        self.best: dict[str, Tensor] = {}

    def run(self, progress: Callable[[int], None] | None = None) -> Tuned:
        """Train (or resume), then predict the test clips; `progress` is called with the number of epochs done.

        Raises:
            TrainingError: the loss is not finite, or no epoch validated with a finite loss.
            StorageError: a checkpoint can't be written.
            CheckpointError: the checkpoint to resume from is damaged.
        """
        self._resume()
        saved = time.monotonic()
        # Stochastic depth and dropout draw from the global generator: leave it to the caller as it was.
        with torch.random.fork_rng(devices=[]):
            while self.at.epoch < self.config.epochs:
                trained = self._train_epoch(self.at.epoch)
                self.at.epoch += 1
                self._validate(trained)
                if time.monotonic() - saved >= 60 * self.minutes:
                    self._save()
                    saved = time.monotonic()
                if progress is not None:
                    progress(self.at.epoch)
        if not self.best:
            raise TrainingError(
                f"no epoch of fold {self.fold.name} had a finite validation loss; set lower learning rates (lr, "
                "head_lr)"
            )
        self.model.restore({name: t.to(self.device) for name, t in self.best.items()})
        logits = self._logits(self.fold.test)
        scores = self.loss.scores(logits).numpy().astype(np.float32)
        chosen = {
            "fold": self.fold.name,
            "seed": self.seed,
            "epoch": self.at.best,
            "validation": natural(self.at.score, self.metric),
            "metric": self.metric,
        }
        self.model.eval()
        return Tuned(scores, chosen, self.at.score, self.model.params, self.model)

    def _train_epoch(self, epoch: int) -> float:
        """Train one epoch and return the mean training loss."""
        model, config = self.model, self.config
        model.learn()
        total, clips = 0.0, 0
        for i, batch in enumerate(self.batches.epoch(epoch)):
            step = epoch * self.batches.steps + i
            factor = schedule(step, config.epochs * self.batches.steps, config)
            for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
                group["lr"] = peak * factor
            with torch.no_grad():
                features = model.frontend(batch.audio.to(self.device))
                drawn = step_generator(self.seed, "finetune masks", step)
                features = mask_spectrum(features, config.spec_freq, config.spec_time, drawn)
            seed_layers(self.seed, step)
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
                logits = model(features)
            loss = self.loss(logits.unsqueeze(0), batch.targets.to(self.device))[0]
            if not bool(torch.isfinite(loss)):
                raise TrainingError(
                    f"the loss of fold {self.fold.name}, seed {self.seed} is not finite at epoch {epoch + 1}; set "
                    "lower learning rates (lr, head_lr), or a longer warmup"
                )
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if config.clip_norm:
                torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], config.clip_norm)
            self.optimiser.step()
            total += float(loss.detach()) * len(batch.audio)
            clips += len(batch.audio)
        return total / clips

    def _validate(self, trained: float) -> None:
        logits = self._logits(self.fold.valid).unsqueeze(0)
        truth = torch.from_numpy(self.targets.truth[self.fold.valid]).float()
        loss = float(self.loss(logits, truth)[0])
        targets = truth.argmax(1) if self.targets.kind == "single" else truth
        value = float(score(logits, targets, self.metric)[0])
        at = self.at
        at.history.append(
            {"loss": trained, "validation_loss": loss, "validation": natural(value, self.metric)}
            if math.isfinite(loss) and math.isfinite(value)
            else {"loss": trained, "validation_loss": None, "validation": None}
        )
        if math.isfinite(loss) and math.isfinite(value) and (value, -loss) > (at.score, -at.loss):
            at.best, at.score, at.loss = at.epoch, value, loss
            self.best = {name: t.cpu().clone() for name, t in self.model.trained().items()}

    def _logits(self, places: NDArray[np.int64]) -> Tensor:
        """Return logits `(n, C)` of whole clips, in evaluation mode, on the CPU."""
        rows = self.targets.rows[places]
        out = torch.empty(len(rows), len(self.targets.classes))
        for group in reading_order(self.clips, rows, self._exact, self.config.batch):
            audio = Audio.stack([self.clips[int(rows[i])] for i in group], self.clips.rate).to(self.device)
            out[group] = self.model.predict(audio, self.precision).float().cpu()
        return out

    def _save(self) -> None:
        tensors = {f"model/{name}": t for name, t in self.model.trained().items()}
        tensors |= {f"best/{name}": t for name, t in self.best.items()}
        moments = optimiser_tensors(self.optimiser, self.model.encoder, self.model.head)
        tensors |= {f"optimiser/{name}": t for name, t in moments.items()}
        at = self.at
        head = {
            "epoch": at.epoch,
            "best": at.best,
            "score": at.score if at.best else None,
            "loss": at.loss if at.best else None,
            "history": at.history,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, tensor_bytes(tensors, {"progress": json.dumps(head)}))

    def _resume(self) -> None:
        """Resume from the checkpoint if there is one; its folder belongs to exactly these settings."""
        if not self.path.is_file():
            return
        remedy = "delete it to fine-tune this fold from scratch"
        held, metadata = read_tensor_file(self.path, remedy)
        try:
            head = json.loads(metadata["progress"])
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"the progress in {self.path} is damaged ({error}); {remedy}") from error

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): t for name, t in held.items() if name.startswith(prefix)}

        self.model.restore({name: t.to(self.device) for name, t in part("model/").items()})
        restore_optimiser(self.optimiser, self.model.encoder, self.model.head, part("optimiser/"))
        self.best = part("best/")
        found = Progress(head["epoch"], head["best"], history=head["history"])
        if found.best:
            found.score, found.loss = head["score"], head["loss"]
        self.at = found


def schedule(step: int, steps: int, config: FinetuneConfig) -> float:
    """Return the factor of every learning rate at `step` (from 0): linear from 0, then a cosine to `min_lr`."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return config.min_lr + (1 - config.min_lr) * 0.5 * (1 + math.cos(math.pi * share))
