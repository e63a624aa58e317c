"""Running statistics of an encoder's BatchNorm, estimated anew when its training ends or is stopped.

A moving average over the last steps lags behind the weights, and saw augmented views; a frozen encoder normalises whole
clips by it. Source: arXiv 2105.07576, section 3 ("precise BatchNorm"). The random-weight control has
no statistics of its own; with means of 0 and variances of 1 it scores far below what its weights are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from auricle.audio.arrays import resampled
from auricle.audio.batch import Audio
from auricle.corpus.sources import open_corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.parts.batch_norm import BinNorm

BATCHES = 12
# What random weights are measured on: the same sounds, whatever the control is evaluated on.
CONTROL_SOUNDS, CONTROL_BATCH = "builtin:scenes?clips=96&seconds=4&seed=1000", 8


def tracked_norms(encoder: nn.Module) -> list[nn.modules.batchnorm._BatchNorm | BinNorm]:
    """Return the layers that normalise by running statistics in evaluation mode."""
    kinds = (nn.modules.batchnorm._BatchNorm, BinNorm)
    return [m for m in encoder.modules() if isinstance(m, kinds) and m.running_mean is not None]


def running_statistics(encoder: nn.Module) -> dict[str, Tensor]:
    """Return copies of the buffers of these layers, by their name in the encoder: a resumed run goes on with them."""
    norms = set(tracked_norms(encoder))
    return {
        f"{place}.{name}": buffer.detach().clone().cpu()
        for place, module in encoder.named_modules()
        if module in norms
        for name, buffer in module.named_buffers(recurse=False)
    }


@torch.no_grad()
def estimate_statistics(
    encoder: nn.Module, inputs: Iterable[Any], encode: Callable[[Any], object] | None = None
) -> int:
    """Replace running statistics by their means over batches of plain inputs; return how many norms have any.

    Everything but the norms is in evaluation mode meanwhile: no dropout, no stochastic depth. Over several ranks the
    statistics are those of all ranks' batches. The encoder is left in training mode.

    Args:
        encoder: holds the norms.
        inputs: batches; `Features` where `encode` is None.
        encode: passes a batch through the encoder; None: the encoder itself.
    """
    norms = tracked_norms(encoder)
    if not norms:
        return 0
    encoder.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
    for number, batch in enumerate(inputs, 1):
        for norm in norms:
            norm.momentum = 1 / number
        (encode or encoder)(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.train()
    return len(norms)


def settle_control(control: FrozenEncoder) -> FrozenEncoder:
    """Estimate the running statistics of a random-weight control on built-in scenes, in place, and return it.

    Trained encoders have theirs estimated in the same way. Without BatchNorm nothing changes.
    """
    if not tracked_norms(control.encoder):
        return control
    corpus = open_corpus(CONTROL_SOUNDS)
    clips = [torch.from_numpy(resampled(corpus.audio(row), 16000, control.rate)) for row in range(len(corpus))]
    batches = (
        Audio.stack(clips[start : start + CONTROL_BATCH], control.rate) for start in range(0, len(clips), CONTROL_BATCH)
    )
    estimate_statistics(control.encoder, batches, control.encode)
    control.encoder.eval()
    return control.changed(f"statistics of {CONTROL_SOUNDS}")
