"""Calibration: from a head's scores to probabilities that hold on clips that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

_LEAST = 1e-7  # probabilities are kept this far from 0 and 1, where their logit is infinite

Method = Literal["none", "temperature", "isotonic"]


@dataclass(frozen=True)
class Calibration:
    """A fitted map of scores.

    Attributes:
        method: `none`; `temperature`: logits times `scale`, plus `shift`, of each class (of one label a clip: one scale
            for all classes and no shift); `isotonic`: of each class a rising line through `knots`.
        scale: of the logits: one, or C.
        shift: of the logits: empty, or C.
        knots: for each class scores and their probabilities, both rising; empty: the class stays as it is.
    """

    method: Method = "none"
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    knots: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()

    def apply(self, scores: Tensor, single: bool) -> Tensor:
        """Return calibrated probabilities `(..., C)` of scores in 0 ... 1; of one label a clip they add up to one."""
        if self.method == "none":
            return scores
        if self.method == "isotonic":
            columns = [
                torch.from_numpy(np.interp(scores[..., c].double().numpy(), *knots)) if knots[0] else scores[..., c]
                for c, knots in enumerate(self.knots)
            ]
            found = torch.stack([column.to(scores.dtype) for column in columns], -1)
            total = found.sum(-1, keepdim=True)
            return torch.where(total > 0, found / total.clamp(min=_LEAST), scores) if single else found
        scale = torch.tensor(self.scale, dtype=torch.float64)
        held = scores.double().clamp(_LEAST, 1 - _LEAST)
        if single:
            return (held.log() * scale).softmax(-1).to(scores.dtype)
        shift = torch.tensor(self.shift or (0.0,), dtype=torch.float64)
        return (held.logit() * scale + shift).sigmoid().to(scores.dtype)

    def to_json(self) -> dict[str, Any]:
        """Return the map as JSON-ready data."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`'s data (`ValueError` where it is none)."""
        if data["method"] not in get_args(Method):
            raise ValueError(f"calibration by {data['method']!r}")
        knots = tuple((tuple(map(float, x)), tuple(map(float, y))) for x, y in data.get("knots", ()))
        scale, shift = (tuple(map(float, data.get(name, ()))) for name in ("scale", "shift"))
        return cls(data["method"], scale, shift, knots)
