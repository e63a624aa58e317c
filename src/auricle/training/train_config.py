"""How a run is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from auricle.config import Config, Count, Natural, NonNegative, Positive, ShareBelowOne
from auricle.devices import Device, Precision
from auricle.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig(Config):
    """Settings of a training run. Defaults: AudioMosaic's released config (arXiv 2605.14231).

    Attributes:
        steps: total optimiser steps; with `minutes`: at most.
        micro_batch: clips in memory at once, per process; None: all. Objectives that couple a batch use gradient
            caching, which keeps the gradient of the full batch; the others accumulate gradients.
        lr: peak learning rate, reached after `warmup_steps`.
        schedule: after the warm-up: `cosine`, `linear` or `exponential` down to `min_lr` at the last step, `constant`,
            or `inverse_sqrt`.
        min_lr: learning rate of the last step.
        warmup_steps: steps of linear warm-up from 0; fewer, in proportion or a tenth of the run, where `minutes` lower
            `steps`.
        hold_steps: steps at `lr` between the warm-up and the fall (data2vec and DinoSR have three stages); fewer, in
            proportion, where `minutes` lower `steps`.
        weight_decay: weight decay of AdamW; biases, norms, class tokens and positions have none.
        weight_decay_end: weight decay of the last step, approached along half a cosine (ATST); None: it is constant.
        betas: moment decays of AdamW.
        eps: epsilon of AdamW, added to its denominator.
        clip_norm: largest gradient norm; None: no clipping.
        precision: `bf16` is autocast (parameters and losses stay float32); `auto`: bf16 where the GPU or the processor
            computes in it, else fp32.
        threads: threads of the training step on the CPU; -1: OMP_NUM_THREADS where it is set, else every core of
            this rank.
        log_every: steps between lines of `metrics.jsonl`.
        save_every: steps between checkpoints; there is always one at the end.
        keep: latest checkpoints to keep; 0: all.
        seed: seed of the run: weights, order of clips, augmentation, masks.
        device: `auto` is a CUDA device if there is one, else the CPU; `mps` only where it is named.
        minutes: time of the run (of each stage, if there are several); None: no limit. After the first steps, and again
            later, `steps` is lowered to what fits into it at the measured speed, so that the learning rate comes to its
            end; what is later than that all the same stops with a checkpoint.
        skip_limit: consecutive steps without a finite loss and gradient that end the run.
        tensorboard: also write the metrics for TensorBoard (extra `auricle[tensorboard]`).
    """

    steps: Count = 10_000
    micro_batch: Count | None = None
    lr: NonNegative = 6e-4
    schedule: Literal["cosine", "linear", "exponential", "constant", "inverse_sqrt"] = "cosine"
    min_lr: NonNegative = 1e-6
    warmup_steps: Natural = 300
    hold_steps: Natural = 0
    weight_decay: NonNegative = 0.05
    weight_decay_end: NonNegative | None = None
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.999)
    eps: Positive = 1e-8
    clip_norm: Positive | None = None
    precision: Precision = "auto"
    threads: Annotated[int, Ge(-1)] = -1
    log_every: Count = 10
    save_every: Count = 500
    keep: Natural = 2
    seed: Natural = 42
    device: Device = "auto"
    minutes: Positive | None = None
    skip_limit: Count = 50
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.lr < self.min_lr:
            raise ConfigError(f"train.lr is {self.lr}, below train.min_lr, {self.min_lr}; raise one or lower the other")
        if self.schedule == "exponential" and self.min_lr == 0:
            raise ConfigError("train.schedule is exponential and train.min_lr is 0, never reached; set min_lr above 0")
        if self.hold_steps and self.schedule in ("constant", "inverse_sqrt"):
            raise ConfigError(
                f"train.hold_steps is {self.hold_steps} and train.schedule is {self.schedule}, without a fall to put "
                "off; set hold_steps to 0, or schedule to cosine, linear or exponential"
            )
        if self.threads == 0:
            raise ConfigError("train.threads is 0; set --train.threads -1 for every core, or 1 or more")
