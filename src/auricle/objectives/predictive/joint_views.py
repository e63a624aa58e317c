"""Masked prediction on a clip and on its mixture with another, side by side in one batch, with the same masks.

Source: SSLAM, arXiv 2506.12222: the second half of a batch is the first one mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.encoders.contract import Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.contract import Loss, View
from auricle.objectives.masks.token_mask import MaskedPositions
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig


@dataclass(frozen=True)
class JointViewsConfig(MaskedPredictionConfig):
    """Settings of masked prediction on two views at once: those of `MaskedPredictionConfig`, with `views` 2.

    Every term sees 2 B rows: row 2 b is clip b in the first view, row 2 b + 1 in the second. The same tokens of both
    are masked, and the teacher sees each row unmasked.
    """

    views: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views != 2 or self.corruption is not None:
            raise ConfigError("joint views are two, without a corruption; set views 2, corruption None")


class JointViews(MaskedPrediction):
    """See `JointViewsConfig`.

    In the control (`shuffled`) the encoder's input lies two clips before that of the targets: next neighbours in the
    batch may be mixed with each other.
    """

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        self.check_views(views)
        joined = interleave(*views)
        if not self.shuffled:
            return super().forward(encoder, [joined], generator)
        # The terms must not move the targets once more.
        self.shuffled = False
        try:
            return super().forward(encoder, [moved(joined, 4), joined], generator)
        finally:
            self.shuffled = True

    def _masked(self, tokens: Tokens, altered: Tensor | None, generator: torch.Generator) -> MaskedPositions:
        valid = None if tokens.valid is None else tokens.valid[0::2]
        once = super()._masked(Tokens(tokens.x[0::2], tokens.grid, valid=valid), None, generator)
        return MaskedPositions(self._for_both(once.masked), self._for_both(once.predicted))

    def _for_both(self, chosen: Tensor) -> Tensor:
        """Turn `(B * M, N)` for each clip's clones into `(B * 2 * M, N)` for those of both views."""
        return chosen.unflatten(0, (-1, 1, self.config.clones)).expand(-1, 2, -1, -1).flatten(0, 2)


def moved(view: View, rows: int) -> View:
    """Return a view in which each row is the one that was `rows` before it, the first ones the last."""
    x = view.features
    features = Features(x.x.roll(rows, 0), x.lengths.roll(rows, 0), x.rate, x.pad)
    certificate = {name: value.roll(rows, 0) for name, value in view.certificate.items()}
    return View(features, view.clip.roll(rows, 0), certificate)


def interleave(first: View, second: View) -> View:
    """Return one view of 2 B rows, the first's and the second's in turn.

    An entry of the certificate that only one of them has is filled up for the other: with -1 where it is a number
    (`partner`), with zeros elsewhere.

    Raises:
        ConfigError: their features differ in shape.
    """
    a, b = first.features, second.features
    if a.x.shape != b.x.shape:
        raise ConfigError(f"found views of shape {tuple(a.x.shape)} and {tuple(b.x.shape)}, expected equal ones")
    certificate: dict[str, Tensor] = {}
    for name in first.certificate.keys() | second.certificate.keys():
        known = [view.certificate.get(name) for view in (first, second)]
        like = next(value for value in known if value is not None)
        empty = torch.full_like(like, -1) if like.dtype == torch.int64 else torch.zeros_like(like)
        certificate[name] = _in_turn(*(empty if value is None else value for value in known))
    reference = None
    if first.reference is not None and second.reference is not None:
        one, two = first.reference, second.reference
        reference = Audio(_in_turn(one.wave, two.wave), _in_turn(one.lengths, two.lengths), one.rate)
    features = Features(_in_turn(a.x, b.x), _in_turn(a.lengths, b.lengths), a.rate, a.pad)
    return View(features, _in_turn(first.clip, second.clip), certificate, reference)


def _in_turn(one: Tensor, two: Tensor) -> Tensor:
    return torch.stack([one, two], 1).flatten(0, 1)
