"""Settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from auricle.config import Config
from auricle.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig(Config):
    """How long, how fast and how carefully to train. Defaults: AudioMosaic's released config (arXiv 2605.14231).

    Attributes:
        steps: optimiser steps in all.
        micro_batch: clips (of one rank) that are in memory at once; None: all. Objectives that couple a batch use
            gradient caching, so the gradient stays that of the full batch; the others accumulate gradients.
        lr: peak learning rate, reached after `warmup_steps`.
        schedule: what follows: `cosine` or `linear` down to `min_lr` at the last step, `constant`, or `inverse_sqrt`.
        min_lr: learning rate of the last step.
        warmup_steps: steps of linear warm-up from 0.
        weight_decay: AdamW's; biases, norms, class tokens and positions have none.
        betas: AdamW's moment decays.
        eps: AdamW's.
        clip_norm: largest gradient norm; None: no clipping.
        precision: `bf16` is autocast (parameters and losses stay float32); `auto`: bf16 where the processor or the
            accelerator computes in it, fp32 elsewhere.
        threads: threads of the training step on the CPU; -1: every core of this rank (see `training.threads`).
        log_every: steps between lines of `metrics.jsonl`.
        save_every: steps between checkpoints; there is always one at the end.
        keep: how many of the latest checkpoints stay; 0: all.
        seed: all randomness of the run flows from it.
        device: `auto` is a CUDA device if there is one.
        minutes: stop cleanly, with a checkpoint, after so many minutes (of each stage, where there are several); None:
            never.
        skip_limit: so many steps in a row without a finite loss and gradient end the run.
        tensorboard: also write the metrics for TensorBoard (extra `auricle[tensorboard]`).
    """

    steps: int = 10_000
    micro_batch: int | None = None
    lr: float = 6e-4
    schedule: Literal["cosine", "linear", "constant", "inverse_sqrt"] = "cosine"
    min_lr: float = 1e-6
    warmup_steps: int = 300
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int = -1
    log_every: int = 10
    save_every: int = 500
    keep: int = 2
    seed: int = 42
    device: Literal["auto", "cpu", "cuda"] = "auto"
    minutes: float | None = None
    skip_limit: int = 50
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that can't be meant.

        Raises:
            ConfigError: naming the setting, its value and its range.
        """
        for name in ("steps", "log_every", "save_every", "skip_limit"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("warmup_steps", "keep", "weight_decay", "lr", "min_lr", "seed"):
            value = getattr(self, name)
            if value < 0 or math.isinf(value):
                raise ConfigError(f"train.{name} is {value}; it must be finite and not negative")
        for name in ("micro_batch", "clip_norm", "minutes"):
            value = getattr(self, name)
            if value is not None and (value <= 0 or math.isinf(value)):
                raise ConfigError(f"train.{name} is {value}; it must be finite and above 0, or None to leave it off")
        if self.eps <= 0 or math.isinf(self.eps):
            raise ConfigError(f"train.eps is {self.eps}; it must be finite and above 0 (AdamW divides by it)")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(
                f"train.betas is {self.betas}; give two numbers, each at least 0 and below 1, such as 0.9 0.999"
            )
        if self.schedule not in ("cosine", "linear", "constant", "inverse_sqrt"):
            raise ConfigError(f"train.schedule is {self.schedule!r}; choose cosine, linear, constant or inverse_sqrt")
        if self.lr < self.min_lr:
            raise ConfigError(f"train.lr is {self.lr}, below train.min_lr, {self.min_lr}; raise one or lower the other")
        if self.threads == 0 or self.threads < -1:
            raise ConfigError(
                f"train.threads is {self.threads}; give 1 or more, or -1 to choose by the number of cores"
            )
