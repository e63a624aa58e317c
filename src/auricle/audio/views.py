"""Views: a batch of clips in, an encoder's inputs out, with a certificate of what was done to them.

Whatever an operator does that makes a label (crop offset, order of segments, gap, mixing partner, degradation) is
recorded in the certificate; no model computes labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.ops.recordings import skipped_lines
from auricle.audio.ops.wave_mixing import OverlapConfig
from auricle.audio.ops.wave_op import WaveOpConfig
from auricle.audio.ops.wave_recorded import RecordedNoiseConfig, RecordedRoomConfig
from auricle.config import Config
from auricle.errors import ConfigError

SEEDS = 2**62
"""Number of seeds that an operator's generator may have."""


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

    def check_folders(self) -> tuple[str, ...]:
        """Look into the folders that views are made with, and return a line for each with files that are skipped.

        Raises:
            ConfigError: a folder is missing, or holds no recording.
        """
        return ()


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
class DegradedViewsConfig(ViewsConfig):
    """Settings that views of all methods may have: other sounds, a room, recorded noise; all off by default.

    They act on the waveform of each view by itself, in this order; in a plan behind its other operators on waveforms,
    in AudioMosaic's chain before it. The clip before them stays the reference: targets made of the waveform (clusters,
    signals) are those of the clean clip; targets cut out of the encoder's input (patches) are not.

    Attributes:
        mix: another clip of the batch added, with probability `mix.p`.
        room: reverberation by an impulse response from `room.folder`.
        noise: a recording from `noise.folder` added.
    """

    mix: OverlapConfig = field(default_factory=lambda: OverlapConfig(p=0.0), kw_only=True)
    room: RecordedRoomConfig = field(default_factory=RecordedRoomConfig, kw_only=True)
    noise: RecordedNoiseConfig = field(default_factory=RecordedNoiseConfig, kw_only=True)

    def check_folders(self) -> tuple[str, ...]:
        named = (("augment.room.folder", self.room.folder), ("augment.noise.folder", self.noise.folder))
        return tuple(line for setting, folder in named if folder for line in skipped_lines(folder, setting))

    def degradations(self) -> tuple[WaveOpConfig, ...]:
        """Return the settings of those operators that are on, in order."""
        recorded = tuple(op for op in (self.room, self.noise) if op.folder)
        return (*((self.mix,) if self.mix.p else ()), *recorded)


@dataclass(frozen=True)
class PlainViewsConfig(DegradedViewsConfig):
    """The whole window in every view, unchanged but for degradations."""


class PlainViews(ViewMaker):
    """Returns the features of the whole window in every view, with the clip itself as their reference.

    Without degradations all views are the same; with them each view draws its own, and certifies them.
    """

    config: PlainViewsConfig

    def __init__(self, config: PlainViewsConfig, frontend: FrontEnd) -> None:
        super().__init__(config, frontend)
        self._wave = nn.ModuleList(op.build() for op in config.degradations())

    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        if not len(self._wave):
            made = MadeView(self.frontend(audio), {}, audio)
            return (made,) * views
        self.check_input(audio, generator)
        seeds = torch.randint(SEEDS, (views, len(self._wave)), generator=generator).tolist()
        return tuple(self._degraded(audio, chain) for chain in seeds)

    def _degraded(self, audio: Audio, seeds: Sequence[int]) -> MadeView:
        wave, certificate = degraded(self._wave, audio, seeds)
        with torch.autocast(audio.wave.device.type, enabled=False):
            return MadeView(self.frontend(wave), certificate, audio)


def degraded(operators: Iterable[nn.Module], audio: Audio, seeds: Sequence[int]) -> tuple[Audio, dict[str, Tensor]]:
    """Return a batch behind operators on waveforms, each with its own seed, and their certificates, in float32."""
    audio, certificate = Audio(audio.wave.float(), audio.lengths, audio.rate), {}
    with torch.autocast(audio.wave.device.type, enabled=False):
        for operator, seed in zip(operators, seeds, strict=True):
            audio, entries = operator(audio, torch.Generator().manual_seed(seed))
            certificate.update(entries)
    return audio, certificate
