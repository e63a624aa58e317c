"""The cost of a probe or an encoder: multiply-adds per clip, counted while it runs.

One multiply-add is one multiplication with its addition in a matrix product or convolution (half of what torch's
counter calls a FLOP). Norms, activations, maxima and the like are not counted, as is usual in the literature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from auricle.audio.batch import Audio
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeHead
from auricle.tokens.token_set import TokenSet


def head_macs(head: ProbeHead, tokens: TokenSet) -> int:
    """Return the multiply-adds of one more clip in evaluation mode, on the clip of median length.

    Work for a whole batch (folding projections into each other) costs a clip nothing; the result is therefore the
    difference between two clips and one.

    Args:
        head: a head of one setting.
        tokens: clips to read.

    Raises:
        ConfigError: the head holds several settings, or there is no clip.
    """
    if head.settings != 1:
        raise ConfigError(f"multiply-adds are counted on a head of one setting, found {head.settings}; keep one")
    if len(tokens) == 0:
        raise ConfigError("no clip to count multiply-adds on")
    place = int(np.argsort(tokens.counts, kind="stable")[len(tokens) // 2])
    training, device = head.training, next(head.parameters()).device
    head.eval()

    def run(clips: int) -> None:
        batch = tokens.batch([place] * clips)
        inputs = head.read(batch)
        valid = None if inputs.valid is None else inputs.valid.to(device)
        head(Inputs(inputs.x.to(device), valid))

    with torch.no_grad():
        one, two = (count_macs(lambda n=clips: run(n)) for clips in (1, 2))  # type: ignore[misc]
    head.train(training)
    return two - one


def encoder_macs(encoder: FrozenEncoder, seconds: float) -> int:
    """Return the multiply-adds of encoding one clip of that length; the front end is not counted.

    Raises:
        ConfigError: the length is not positive.
    """
    if not seconds > 0:
        raise ConfigError(f"a clip of {seconds} s can't be encoded; choose a length above zero")
    samples = max(1, round(seconds * encoder.rate))
    audio = Audio(torch.zeros(1, samples), torch.tensor([samples]), encoder.rate).to(encoder.device)
    both = count_macs(lambda: encoder.encode(audio))
    return both - count_macs(lambda: encoder.frontend(audio))


def count_macs(work: Callable[[], Any]) -> int:
    """Return the multiply-adds of a function call.

    Examples:
        >>> count_macs(lambda: torch.ones(2, 3) @ torch.ones(3, 4))
        24
    """
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        work()
    return int(counter.get_total_flops()) // 2


def _attention_flops(query: Any, key: Any, value: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


# torch's table knows the fused attention of GPUs, and not that of CPUs.
_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
