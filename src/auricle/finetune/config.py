"""How an encoder is fine-tuned on labelled clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auricle.config import Config, nearest
from auricle.errors import ConfigError

Mode = Literal["full", "last_n", "lora", "head"]
MODES: tuple[Mode, ...] = ("full", "last_n", "lora", "head")


@dataclass(frozen=True)
class FinetuneConfig(Config):
    """Settings of fine-tuning. Where AudioMosaic's released recipes agree (arXiv 2605.14231), defaults are theirs.

    Attributes:
        mode: what is trained beside the new head: `full`: the whole encoder; `last_n`: its last blocks and what follows
            them; `lora`: low-rank updates of its linear layers (needs the extra `finetune`); `head`: nothing.
        last_n: how many blocks `last_n` trains.
        lora_rank: rank of the updates.
        lora_alpha: their scale; an update is multiplied with `lora_alpha / lora_rank`.
        lora_dropout: on the input of the updates, in training.
        norm: `layer` puts a layer norm without parameters between clip vector and head, so that encoders of any scale
            suit one learning rate; `none` does not.
        epochs: passes over the training clips.
        batch: clips a step.
        lr: peak learning rate of the encoder; None: 1e-4 (`full`, `last_n`) or 1e-3 (`lora`).
        head_lr: peak learning rate of the head, which starts from nothing.
        weight_decay: of all weights but biases, norms and what the encoder exempts.
        layer_decay: each block learns this much slower than the next one (`full`, `last_n`): block i of L has
            `layer_decay ** (L - i)` times `lr` and a factor more, and the tokenizer one factor less still.
        warmup: share of all steps in which the rates rise linearly from 0; a cosine follows.
        min_lr: where that cosine ends, as a share of the peak.
        clip_norm: largest norm of the gradient; 0: no limit.
        drop_path: stochastic depth in training, for encoders that have it; None: as the encoder was built.
        mixup: share of the training clips that are mixed with another one as waveforms, labels in the same proportion;
            None: 0.8 where clips have several labels, else 0.
        mixup_beta: a of the proportion's Beta(a, a).
        spec_freq: widest frequency mask, as a share of the bands; one mask a clip, of even chance up to that width.
            Front ends without bands (waveform) have none.
        spec_time: widest time mask, as a share of the clip.
        balanced: draw clips so that rare classes come up as often as common ones: a clip's weight is the sum of
            1 / count over its labels. An epoch has as many clips as otherwise.
        max_seconds: longer training clips are cut to a window of this length at a random place; None: what the encoder
            takes at once. Validation and test read whole clips, window by window.
        loss: a name of `LOSSES`; "": the card's.
        metric: what chooses the epoch, see `SearchConfig.metric`; None: accuracy, or `map` for several labels.
        precision: `bf16` computes in bfloat16 (autocast), `auto` does where the processor has it.
    """

    mode: Mode = "full"
    last_n: int = 2
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    norm: Literal["layer", "none"] = "layer"
    epochs: int = 30
    batch: int = 16
    lr: float | None = None
    head_lr: float = 1e-3
    weight_decay: float = 0.01
    layer_decay: float = 0.75
    warmup: float = 0.1
    min_lr: float = 0.01
    clip_norm: float = 1.0
    drop_path: float | None = None
    mixup: float | None = None
    mixup_beta: float = 10.0
    spec_freq: float = 0.1875
    spec_time: float = 0.1875
    balanced: bool = False
    max_seconds: float | None = None
    loss: str = ""
    metric: str | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            ConfigError: a setting is unknown or out of range.
        """
        for name, known in (
            ("mode", MODES),
            ("norm", ("layer", "none")),
            ("precision", ("auto", "fp32", "bf16")),
        ):
            if getattr(self, name) not in known:
                value = str(getattr(self, name))
                raise ConfigError(f"unknown {name} of fine-tuning {value!r}{nearest(value, known)}")
        for name in ("last_n", "lora_rank", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("head_lr", "layer_decay", "mixup_beta", "lora_alpha"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a number above 0")
        for name in ("weight_decay", "clip_norm"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more")
        for name in ("warmup", "min_lr", "mixup", "spec_freq", "spec_time", "lora_dropout", "drop_path"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}; expected a share from 0 to 1")
        if self.lr is not None and not self.lr > 0:
            raise ConfigError(f"lr is {self.lr}; expected a number above 0")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ConfigError(f"max_seconds is {self.max_seconds}; expected a length above 0 s")

    @property
    def rate(self) -> float:
        """Peak learning rate of the encoder."""
        if self.lr is not None:
            return self.lr
        return 1e-3 if self.mode == "lora" else 1e-4
