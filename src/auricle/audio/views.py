"""What every maker of views promises: a batch of clips in, what the encoder gets of them out, with a certificate.

Whatever an operator does that makes a label (crop offset, order of segments, gap, mixing partner, degradation) is
recorded in the certificate; no model computes labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd
from auricle.config import Config


class MadeView(NamedTuple):
    """One view of a batch of B clips.

    Attributes:
        features: what the encoder gets.
        certificate: what was done, each tensor `(B, ...)`.
        reference: the clean waveform in step with the features, from which targets are computed (frames of it lie where
            the features' frames lie, before any degradation); None where the view was moved or stretched in time.
    """

    features: Features
    certificate: Mapping[str, Tensor]
    reference: Audio | None = None


@dataclass(frozen=True)
class ViewsConfig(Config, ABC):
    """Base of the settings of view makers."""

    @abstractmethod
    def build(self, frontend: FrontEnd) -> ViewMaker:
        """Make the view maker for a front end.

        Raises:
            ConfigError: the front end is not of a kind that it can work on.
        """

    def check_window(self, seconds: float) -> None:
        """Refuse windows (of so many seconds, or at most so many) of which no sensible views can be made.

        Raises:
            ConfigError: saying what would be wrong with the views.
        """


class ViewMaker(nn.Module, ABC):
    """Makes the views of a batch, on the batch's device.

    What it remembers from batch to batch (a memory bank) are buffers: they travel in checkpoints, and a resumed run
    goes on with them. All randomness comes from the generator that it is given (on the CPU).

    Attributes:
        makes: how many views it makes; None: as many as it is asked for.
    """

    makes: int | None = None

    @abstractmethod
    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        """Return `views` views of a batch `(B, S)`.

        Raises:
            ConfigError: it can't make so many, or the audio has another sample rate than the front end.
        """


@dataclass(frozen=True)
class PlainViewsConfig(ViewsConfig):
    """The clip as it is: every view is the front end's features of the whole window."""

    def build(self, frontend: FrontEnd) -> PlainViews:
        """Make the view maker."""
        return PlainViews(frontend)


class PlainViews(ViewMaker):
    """Shows the clip as it is, in every view."""

    def __init__(self, frontend: FrontEnd) -> None:
        super().__init__()
        self.frontend = frontend

    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        """Return the same features `views` times; the clip itself is their reference."""
        made = MadeView(self.frontend(audio), {}, audio)
        return (made,) * views
