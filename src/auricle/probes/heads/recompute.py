"""Runs a part of a head setting by setting, a few clips at a time, and computes it again for the gradient.

A part with values as wide as the tokens for every setting, `(S, B, N, D)`, needs S times the memory of the batch. Here
one piece is in memory at a time, and the part runs twice a training step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Elements alive at once: about the last-level cache of a processor, and enough rows for an efficient product.
_CPU_ELEMENTS = 2**22
_GPU_ELEMENTS = 2**27


def per_setting(
    part: Callable[..., Tensor],
    parameters: Sequence[Tensor],
    clips: Sequence[Tensor | None],
    *,
    elements: int,
    both: Sequence[Tensor] = (),
) -> Tensor:
    """Return `part(*parameters of s, *both of s and b, *clips of b)` for all settings and clips, `(S, B, ...)`.

    Args:
        part: a function of a piece of clips; no clip's result may depend on another's, nor on chance.
        parameters: each `(S, ...)`.
        clips: each `(B, ...)`, or None, which is passed on.
        elements: intermediate values of one clip; pieces are sized by it.
        both: each `(S, B, ...)`, such as attention weights.
    """
    x = next(c for c in clips if c is not None)
    B, limit = len(x), _CPU_ELEMENTS if x.device.type == "cpu" else _GPU_ELEMENTS
    step = max(1, min(B, limit // max(1, elements)))
    rows = zip(*[p.unbind(0) for p in parameters], strict=True)
    settings = []
    for s, row in enumerate(rows):
        pieces = []
        for b in range(0, B, step):
            of_both = [t[s, b : b + step] for t in both]
            of_clips = [None if c is None else c[b : b + step] for c in clips]
            arguments = (*row, *of_both, *of_clips)
            if torch.is_grad_enabled():
                pieces.append(checkpoint(part, *arguments, use_reentrant=False, preserve_rng_state=False))
            else:
                pieces.append(part(*arguments))
        settings.append(torch.cat(pieces))
    return torch.stack(settings)
