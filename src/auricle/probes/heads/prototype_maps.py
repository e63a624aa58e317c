"""Where in time and frequency a class's prototypes fired in a clip, to draw over the spectrogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.probes.fitted import FittedProbe
from auricle.probes.heads.cgp import Cgp
from auricle.probes.heads.prototype_head import PrototypeHead
from auricle.tokens.token_set import TokenSet


@dataclass(frozen=True)
class Firing:
    """One prototype's best token in a clip.

    Attributes:
        prototype: its number among the probe's P prototypes.
        strength: its part in the class's logit.
        similarity: with that token.
        seconds: start and end of the token.
        rows: first frequency row of the token and the one after it; row 0 is the lowest.
        band: the same as shares of the encoder's frequency axis, 0 (bottom) to 1 (top).
    """

    prototype: int
    strength: float
    similarity: float
    seconds: tuple[float, float]
    rows: tuple[int, int]
    band: tuple[float, float]


@dataclass(frozen=True)
class ActivationMap:
    """Where a class's strongest prototypes fired in one clip.

    Attributes:
        target: the class.
        logit: of the class for this clip.
        map: `(T, F)` float32: at each token the sum over these prototypes of (mixer weight x similarity), so that each
            prototype's own term peaks, at its best token, at its strength. NaN where the clip is padding.
        firings: the prototypes, strongest first; none if no prototype adds to the logit.
        rate: time columns per second (Hz); column t covers t / rate to (t + 1) / rate seconds.
    """

    target: str
    logit: float
    map: np.ndarray
    firings: tuple[Firing, ...]
    rate: float

    @property
    def seconds(self) -> float:
        """Duration that the map covers."""
        return len(self.map) / self.rate

    def to_json(self) -> dict[str, object]:
        """Return the map as JSON-ready data; padding becomes None."""
        cells = [[float(v) if np.isfinite(v) else None for v in column] for column in self.map]
        return {
            "target": self.target,
            "logit": self.logit,
            "seconds": self.seconds,
            "rate": self.rate,
            "map": cells,
            "firings": [{**vars(one)} for one in self.firings],
        }


@torch.no_grad()
def activation_map(
    fitted: FittedProbe, tokens: TokenSet, target: str | int, *, place: int = 0, count: int = 5
) -> ActivationMap:
    """Find where the strongest prototypes of a class fired in a clip.

    Args:
        fitted: a probe of prototypes (`proto`, `protobin`, `protofloat`, `cgp`; of the last, the largest cosines).
        tokens: clips of the probe's encoder.
        target: the class, by name or number.
        place: which clip of `tokens`.
        count: most prototypes; only those that add to the class's logit are returned.

    Raises:
        ConfigError: the probe has no prototypes, the class or the clip is unknown, or the tokens are another encoder's.
    """
    head = fitted.head
    if not isinstance(head, PrototypeHead | Cgp):
        raise ConfigError(f"maps show prototypes, and {type(fitted.config).__name__} has none; fit 'protobin' or alike")
    if isinstance(target, str) and target not in fitted.classes:
        raise ConfigError(f"unknown class {target!r}{nearest(target, fitted.classes)}")
    number = fitted.classes.index(target) if isinstance(target, str) else target
    if not 0 <= number < len(fitted.classes) or not 0 <= place < len(tokens):
        raise ConfigError(
            f"found class {number} of {len(fitted.classes)} and clip {place} of {len(tokens)}; both are counted from 0"
        )
    one = tokens.select([place])
    logit = float(fitted.logits(one)[0, number])
    batch = one.batch([0])
    inputs = head.read(batch)
    h = head.similarities(inputs)
    strengths = head.strengths(h, number)[0, 0]
    order = strengths.argsort(descending=True)[: max(0, count)]
    chosen = order[strengths[order] > 0]
    similar = head.token_similarities(inputs, chosen)[0, 0]
    valid = head.patches(inputs).valid
    gone = torch.zeros(similar.shape[1], dtype=torch.bool) if valid is None else ~valid[0]
    weights = head.strengths(torch.ones_like(h), number)[0, 0, chosen]
    total = (weights.unsqueeze(1) * similar).sum(0).masked_fill(gone, torch.nan)
    places = similar.masked_fill(gone, -torch.inf).argmax(1).tolist()
    grid = batch.grid
    firings = []
    for prototype, token in zip(chosen.tolist(), places, strict=True):
        t, f = divmod(token, grid.freq)
        firings.append(
            Firing(
                prototype=prototype,
                strength=float(strengths[prototype]),
                similarity=float(h[0, 0, prototype]),
                seconds=(t / grid.rate, (t + 1) / grid.rate),
                rows=(f, f + 1),
                band=(f / grid.freq, (f + 1) / grid.freq),
            )
        )
    cells = total.view(grid.time, grid.freq).numpy().astype(np.float32)
    return ActivationMap(fitted.classes[number], logit, cells, tuple(firings), grid.rate)
