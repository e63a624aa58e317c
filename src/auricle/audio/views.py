"""Views: a batch of clips in, an encoder's inputs out, with a certificate of what was done to them.

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
from auricle.errors import ConfigError


class MadeView(NamedTuple):
    """One view of a batch of B clips.

    Attributes:
        features: the encoder's input.
        certificate: what was done, each tensor `(B, ...)`.
        reference: the clean waveform aligned with the features, from which targets are computed (before any
            degradation); None if the view was moved or stretched in time.
    """

    features: Features
    certificate: Mapping[str, Tensor]
    reference: Audio | None = None


@dataclass(frozen=True)
class ViewsConfig(Config, section="augment"):
    """Base of the settings of view makers."""

    def build(self, frontend: FrontEnd) -> ViewMaker:
        """Make the view maker for a front end.

        Raises:
            ConfigError: the view maker needs another kind of front end.
        """
        maker: ViewMaker = self.built_class()(self, frontend)
        return maker

    def check_window(self, seconds: float) -> None:
        """Refuse windows of (at most) this many seconds if no sensible views can be made of them.

        Raises:
            ConfigError: saying what would be wrong with the views.
        """


class ViewMaker(nn.Module, ABC):
    """Makes the views of a batch, on the batch's device.

    State kept from batch to batch (a memory bank) is held in buffers, so that it is saved in checkpoints and restored
    by a resumed run. All randomness comes from the generator passed in (on the CPU).

    Attributes:
        config: the settings.
        frontend: the front end that makes the features.
        makes: number of views made; None: any number.
    """

    makes: int | None = None

    def __init__(self, config: ViewsConfig, frontend: FrontEnd) -> None:
        super().__init__()
        self.config = config
        self.frontend = frontend

    @abstractmethod
    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        """Return `views` views of a batch `(B, S)`.

        Raises:
            ConfigError: this number of views can't be made, a clip is too short, the generator is not on the CPU, or
                the audio's sample rate is not the front end's.
        """

    def check_input(self, audio: Audio, generator: torch.Generator) -> None:
        """Refuse a generator that is not on the CPU, and audio of another sample rate than the front end's.

        Raises:
            ConfigError: either is wrong.
        """
        self.frontend.check_rate(audio)
        if generator.device.type != "cpu":
            raise ConfigError(f"the generator is on {generator.device}; draws are made on the CPU: torch.Generator()")


@dataclass(frozen=True)
class PlainViewsConfig(ViewsConfig):
    """The whole window, unchanged, in every view."""


class PlainViews(ViewMaker):
    """Returns the same features in every view, with the clip itself as their reference."""

    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        made = MadeView(self.frontend(audio), {}, audio)
        return (made,) * views
