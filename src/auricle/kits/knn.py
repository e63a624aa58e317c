"""X-ARES's nearest neighbours on masked means of tokens."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from auricle.errors import ConfigError
from auricle.kits.head import CompatHeadConfig
from auricle.kits.protocols import NeighbourConfig
from auricle.probes.contract import Labelled
from auricle.probes.search.feed import Feed
from auricle.tokens.token_set import TokenSet


def neighbour_votes(known: Labelled, asked: TokenSet, classes: int, config: NeighbourConfig) -> NDArray[np.float32]:
    """Return each class's votes among the k training clips of the largest cosine.

    Weights are a softmax over the neighbours' cosines divided by the temperature, so the votes of a single-label clip
    sum to 1.

    Args:
        known: training clips with class numbers `(n,)`, or zeros and ones `(n, C)`.
        asked: `m` clips to judge.
        classes: C.
        config: k and temperature.

    Returns:
        `(m, C)` float32.

    Raises:
        ConfigError: a vector is not finite.
    """
    probe = CompatHeadConfig(source="mean").build(
        known.tokens.shape, classes, settings=1, generator=torch.Generator().manual_seed(0)
    )
    unit = []
    for tokens in (known.tokens, asked):
        vectors = torch.cat([inputs.x for inputs in Feed(tokens, probe, memory_mb=0).all()])
        if not bool(vectors.isfinite().all()):
            raise ConfigError("a clip's tokens are not finite; leave it out or mend the encoder")
        unit.append(F.normalize(vectors, dim=1))
    y = F.one_hot(known.targets, classes) if known.targets.dim() == 1 else known.targets
    near, places = (unit[1] @ unit[0].t()).topk(min(config.k, len(unit[0])), dim=1)
    weights = (near / config.temperature).softmax(1)
    votes: NDArray[np.float32] = torch.einsum("mk,mkc->mc", weights, y.float()[places]).numpy()
    return votes
