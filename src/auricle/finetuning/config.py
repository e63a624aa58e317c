"""How an encoder is fine-tuned on labelled clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from auricle.config import Config, Count, NonNegative, Positive, Share
from auricle.devices import Precision

Mode = Literal["full", "last_n", "lora", "head"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class FinetuneConfig(Config, section=""):
    """Settings of fine-tuning. Where AudioMosaic's released recipes agree (arXiv 2605.14231), defaults are theirs.

    Attributes:
        mode: what is trained besides the new head: `full`: the whole encoder; `last_n`: its last blocks and everything
            after them; `lora`: low-rank updates of its linear layers (needs the extra `finetune`); `head`: nothing.
        last_n: number of blocks that `last_n` trains.
        lora_rank: rank of the updates.
        lora_alpha: their scale; an update is multiplied by `lora_alpha / lora_rank`.
        lora_dropout: dropout on the input of the updates.
        norm: `layer` puts a layer norm without parameters between clip vector and head, so that one learning rate
            suits encoders of any scale; `none` does not.
        epochs: passes over the training clips.
        batch: clips per step.
        lr: peak learning rate of the encoder; None: 1e-4 (`full`, `last_n`) or 1e-3 (`lora`).
        head_lr: peak learning rate of the head, which is trained from scratch.
        weight_decay: of all weights except biases, norms and those that the encoder exempts.
        layer_decay: factor between the learning rates of a block and the next one (`full`, `last_n`): block i of L has
            `lr * layer_decay ** (L - i)`, and the tokenizer one factor less.
        warmup: share of all steps in which the learning rates rise linearly from 0; a cosine follows.
        min_lr: end of that cosine, as a share of the peak.
        clip_norm: largest norm of the gradient; 0: no limit.
        drop_path: stochastic depth in training, for encoders that have it; None: as the encoder was built.
        mixup: share of the training clips that are mixed with another one as waveforms, labels in the same proportion;
            None: 0.8 where clips have several labels, else 0.
        mixup_beta: a of the proportion's Beta(a, a).
        spec_freq: widest frequency mask, as a share of the bands; one mask per clip, its width uniform up to this.
            Front ends without bands (waveform) have none.
        spec_time: widest time mask, as a share of the clip.
        balanced: draw clips so that rare classes come up as often as common ones: a clip's weight is the sum of
            1 / count over its labels. The number of clips per epoch stays the same.
        max_seconds: longer training clips are cropped to a window of this length at a random place; None: as much as
            the encoder takes at once. Validation and test read whole clips, window by window.
        loss: a name of `LOSSES`; "": the card's.
        metric: selects the epoch, on the validation clips; None: the task's headline metric.
        precision: `fp32`, `bf16` (autocast), or `auto`: bf16 where the GPU or the processor computes in it, else fp32.
    """

    mode: Mode = "full"
    last_n: Count = 2
    lora_rank: Count = 8
    lora_alpha: Positive = 16.0
    lora_dropout: Share = 0.0
    norm: Literal["layer", "none"] = "layer"
    epochs: Count = 30
    batch: Count = 16
    lr: Positive | None = None
    head_lr: Positive = 1e-3
    weight_decay: NonNegative = 0.01
    layer_decay: Positive = 0.75
    warmup: Share = 0.1
    min_lr: Share = 0.01
    clip_norm: NonNegative = 1.0
    drop_path: Share | None = None
    mixup: Share | None = None
    mixup_beta: Positive = 10.0
    spec_freq: Share = 0.1875
    spec_time: Share = 0.1875
    balanced: bool = False
    max_seconds: Positive | None = None
    loss: str = ""
    metric: str | None = None
    precision: Precision = "auto"

    @property
    def rate(self) -> float:
        """Peak learning rate of the encoder."""
        if self.lr is not None:
            return self.lr
        return 1e-3 if self.mode == "lora" else 1e-4
