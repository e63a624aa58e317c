"""Running statistics of an encoder's BatchNorm, estimated anew when its training ends or is stopped.

A moving average over the last steps lags behind the weights, and saw augmented views; a frozen encoder normalises whole
clips by it. Source: arXiv 2105.07576, section 3 ("precise BatchNorm").
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Encoder
from auricle.encoders.parts.batch_norm import BinNorm

BATCHES = 12


def tracked_norms(encoder: Encoder) -> list[nn.modules.batchnorm._BatchNorm | BinNorm]:
    """Return the layers that normalise by running statistics in evaluation mode."""
    kinds = (nn.modules.batchnorm._BatchNorm, BinNorm)
    return [m for m in encoder.modules() if isinstance(m, kinds) and m.running_mean is not None]


def running_statistics(encoder: Encoder) -> dict[str, Tensor]:
    """Return copies of the buffers of these layers, by their name in the encoder: a resumed run goes on with them."""
    norms = set(tracked_norms(encoder))
    return {
        f"{place}.{name}": buffer.detach().clone().cpu()
        for place, module in encoder.named_modules()
        if module in norms
        for name, buffer in module.named_buffers(recurse=False)
    }


@torch.no_grad()
def estimate_statistics(encoder: Encoder, inputs: Iterable[Features]) -> int:
    """Replace running statistics by their means over batches of plain inputs; return how many norms have any.

    Everything but the norms is in evaluation mode meanwhile: no dropout, no stochastic depth. Over several ranks the
    statistics are those of all ranks' batches. The encoder is left in training mode.
    """
    norms = tracked_norms(encoder)
    if not norms:
        return 0
    encoder.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
    for number, features in enumerate(inputs, 1):
        for norm in norms:
            norm.momentum = 1 / number
        encoder(features)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.train()
    return len(norms)
