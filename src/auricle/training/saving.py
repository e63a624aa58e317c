"""Checkpoints of a running loop: checks before one is written, and the state that a resumed run takes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auricle.errors import StorageError, TrainingError
from auricle.storage import free_bytes
from auricle.training.checkpoint import (
    checkpoint_bytes,
    load_tensors,
    read_views,
    restore_checkpoint,
    save_checkpoint,
)
from auricle.training.journal import force
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.step import TrainingStep
from auricle.training.train_config import TrainConfig

# Prefix of the encoder's buffers in `views.safetensors`.
_MOVING = "encoder"


def space_needed(encoder: nn.Module, objective: nn.Module, config: TrainConfig, there: int = 0) -> int:
    """Return the bytes of all checkpoints of a run that will lie on the disk at once, beyond those that do already.

    The one that is being written lies beside the `keep` before it. There is one at step 0 where an objective prepares,
    one each `save_every` steps, and one at the end.

    Args:
        encoder: to train.
        objective: to train it by.
        config: steps and checkpoints.
        there: checkpoints of the run on the disk.
    """
    all_of_them = 1 + math.ceil(config.steps / config.save_every)
    if config.minutes is not None and not config.keep:
        # How many steps fit into a limited time is not known yet; the first and the last checkpoint are certain.
        all_of_them = 2
    most = min(all_of_them, config.keep + 1) if config.keep else all_of_them
    return max(1, most - there) * checkpoint_bytes(encoder, objective)


def check_free(path: Path, needed: int) -> None:
    """Refuse a disk without room for checkpoints.

    Args:
        path: the run folder, which may be missing yet.
        needed: bytes of the checkpoints.

    Raises:
        StorageError: naming the bytes needed and free.
    """
    free = free_bytes(path)
    if free < 1.1 * needed:
        raise StorageError(
            f"the checkpoints of this run take {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free at {path}; "
            "expected room for all that lie there at once. Free some space, lower --train.keep (0 keeps all), or "
            "choose another --out"
        )


class Saver:
    """Writes and restores the checkpoints of one run; rank 0 writes, all ranks call.

    Attributes:
        saved: step of the last checkpoint; -1: none yet.
    """

    def __init__(self, run: RunFolder, update: TrainingStep, ranks: Ranks) -> None:
        self.run, self.update, self.ranks = run, update, ranks
        self.saved = -1

    def check_space(self) -> None:
        """Refuse to train where the checkpoints do not fit on the disk.

        Raises:
            StorageError: naming the bytes needed and free.
        """
        if self.run.writes:
            update = self.update
            needed = space_needed(update.encoder, update.objective, update.config, len(self.run.checkpoints))
            check_free(self.run.path, needed)

    def save(self, step: int, progress: Mapping[str, Any], moving: Mapping[str, Tensor]) -> None:
        """Write the checkpoint of a step, once; with `moving`, in place of the one that is there.

        Args:
            step: steps done.
            progress: state of the loop, as JSON data.
            moving: buffers of the encoder with which a resumed run goes on, where it is saved with others.

        Raises:
            TrainingError: a weight of the encoder is not finite.
            StorageError: the disk is full.
        """
        if self.saved == step and not moving:
            return
        self._check_weights(step)
        views = {**self._gather_views(), **{f"{_MOVING}.{name}": value for name, value in moving.items()}}
        if self.run.writes:
            if self.run.lock is not None:
                self.run.lock.check()
            progress = {**progress, "lines": force(self.run.path)}
            save_checkpoint(
                self.run.path / "checkpoints",
                step=step,
                encoder=self.update.encoder,
                objective=self.update.objective,
                optimiser=self.update.optimiser,
                progress=progress,
                recipe=self.run.recipe,
                keep=self.update.config.keep,
                views=views,
            )
        self.saved = step
        self.ranks.wait()

    def restore(self) -> tuple[Path, dict[str, Any]]:
        """Load the latest checkpoint into the modules; return its folder and its `training.json`.

        Raises:
            CheckpointError: the checkpoint is damaged or another model's.
        """
        checkpoint, update = self.run.checkpoint(), self.update
        state = restore_checkpoint(
            checkpoint, encoder=update.encoder, objective=update.objective, optimiser=update.optimiser
        )
        update.encoder.load_state_dict(read_views(checkpoint, _MOVING), strict=False)
        views = update.augment
        if isinstance(views, nn.Module) and views.state_dict():
            kept = read_views(checkpoint, f"rank{self.ranks.rank}")
            if kept:
                load_tensors(views, kept, str(checkpoint / "views.safetensors"))
            else:
                self.run.log("this rank's memory of earlier views begins empty: the run had fewer ranks")
        self.saved = int(state["step"])
        return checkpoint, state

    def _check_weights(self, step: int) -> None:
        """Refuse to save weights that are not finite; all ranks refuse together.

        A skipped step leaves the weights alone, but a step whose gradient is finite can still overflow float32.
        """
        tensors = {name: t for name, t in self.update.encoder.state_dict().items() if t.is_floating_point()}
        # One wait for the device, not one a tensor.
        whole = torch.stack([torch.isfinite(t).all() for t in tensors.values()]).tolist() if tensors else []
        own = [name for name, finite in zip(tensors, whole, strict=True) if not finite]
        bad = next((names for names in self.ranks.gather(own) if names), None)
        if bad is None:
            return
        last = max((number for number in self.run.checkpoints if number < step), default=None)
        kept = (
            "there is no earlier checkpoint"
            if last is None
            else f"the last good checkpoint is {self.run.checkpoints[last]}"
        )
        raise TrainingError(
            f"after step {step}, {len(bad)} of the encoder's {len(tensors)} tensors hold weights that are not "
            f"finite ({', '.join(bad[:3])}{', ...' if len(bad) > 3 else ''}); they were not saved, {kept}: lower "
            "--train.lr, raise --train.warmup-steps, set --train.clip-norm 1 or --train.precision fp32, and start "
            "again in another --out"
        )

    def _gather_views(self) -> dict[str, Tensor]:
        """Return the buffers of all ranks' view makers (memory banks), as `rank0.<name>`."""
        views = self.update.augment
        own = {k: v.cpu() for k, v in views.state_dict().items()} if isinstance(views, nn.Module) else {}
        if not own:
            return {}
        return {
            f"rank{rank}.{name}": value
            for rank, each in enumerate(self.ranks.gather(own))
            for name, value in each.items()
        }
