"""Masked prediction on a clip and on its mixture with another, side by side in one batch, with the same masks.

Source: SSLAM, arXiv 2506.12222: the second half of a batch is the first one mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.encoders.contract import Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.contract import Loss, View
from auricle.objectives.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.token_mask import Hidden


@dataclass(frozen=True)
class JointViewsConfig(MaskedPredictionConfig):
    """Settings of masked prediction on two views at once: those of `MaskedPredictionConfig`, with `views` 2.

    Every term sees 2 B clips: the first B as the first view shows them, then the same as the second does, in the same
    order. Both halves hide the same tokens, and the teacher sees each half as it is.
    """

    views: int = 2

    def __post_init__(self) -> None:
        """Refuse what does not fit two views.

        Raises:
            ConfigError: another number of views, or a corruption, which would alter both halves differently.
        """
        super().__post_init__()
        if self.views != 2 or self.corruption is not None:
            raise ConfigError("joint views are two, and nothing but them alters the input; set views 2, no corruption")

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> JointViews:
        """Build the objective; see `ObjectiveConfig.build`."""
        return JointViews(self, encoder, generator)


class JointViews(MaskedPrediction):
    """See `JointViewsConfig`.

    The control (`shuffled`) gives a mixture the target of the mixture before it. Where mixing partners are neighbours
    in the batch, both hold a common clip, so that of the mixed half something can still be learned.
    """

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        """Return the weighted sum of the terms over both views.

        Raises:
            ConfigError: there are not two views of equal shape.
        """
        if len(views) != 2:
            raise ConfigError(f"found {len(views)} views, expected 2: a clip, and the same clip mixed")
        return super().forward(encoder, [join_views(*views)], generator)

    def _hidden(self, tokens: Tokens, altered: Tensor | None, generator: torch.Generator) -> Hidden:
        clips = tokens.x.shape[0] // 2
        first = Tokens(
            tokens.x[:clips], tokens.grid, valid=None if tokens.valid is None else tokens.valid[:clips]
        )  # fmt: skip
        hidden = super()._hidden(first, None, generator)
        return Hidden(hidden.masked.repeat(2, 1), hidden.predicted.repeat(2, 1))


def join_views(first: View, second: View) -> View:
    """Return one view of 2 B rows: the first's, then the second's.

    Of the certificate, what only one of them tells is filled up for the other: with -1 where it counts something
    (`partner`), with zeros elsewhere.

    Raises:
        ConfigError: their features differ in shape.
    """
    a, b = first.features, second.features
    if a.x.shape != b.x.shape:
        raise ConfigError(f"found views of shape {tuple(a.x.shape)} and {tuple(b.x.shape)}, expected equal ones")
    told: dict[str, Tensor] = {}
    for name in first.certificate.keys() | second.certificate.keys():
        known = [view.certificate.get(name) for view in (first, second)]
        like = next(value for value in known if value is not None)
        empty = torch.full_like(like, -1) if like.dtype == torch.int64 else torch.zeros_like(like)
        told[name] = torch.cat([empty if value is None else value for value in known])
    reference = None
    if first.reference is not None and second.reference is not None:
        one, two = first.reference, second.reference
        reference = Audio(torch.cat([one.wave, two.wave]), torch.cat([one.lengths, two.lengths]), one.rate)
    features = Features(torch.cat([a.x, b.x]), torch.cat([a.lengths, b.lengths]), a.rate, a.pad)
    return View(features, torch.cat([first.clip, second.clip]), told, reference)
