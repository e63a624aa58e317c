"""What an objective keeps of the stage before its own: a frozen copy of its encoder and front end.

Its shape is part of the settings, so that a resumed run, and every rank, builds the same modules before any weight is
read; its weights and the statistics of its front end are taken over by `prepare`, and travel in the checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from auricle.audio.frontend import FrontEnd, FrontEndConfig
from auricle.config import Config
from auricle.encoders.contract import EncoderConfig, Grid, Tokens
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation, View


@dataclass(frozen=True)
class EarlierStageConfig(Config):
    """What the stage before looks like.

    Attributes:
        frontend: its front end; mean and deviation are taken over from the trained stage.
        encoder: its encoder.
    """

    frontend: FrontEndConfig
    encoder: EncoderConfig


class EarlierStage(nn.Module):
    """The encoder of the stage before, in evaluation mode, without gradient.

    Attributes:
        encoder: the encoder.
        statistics: `(2,)` buffer, mean and deviation of its front end; a deviation of 0 where it has none.
        taken: buffer, whether its weights are those of a trained stage.
    """

    statistics: Tensor
    taken: Tensor

    def __init__(self, config: EarlierStageConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = config.encoder.build().eval().requires_grad_(False)
        self.register_buffer("statistics", torch.tensor(_statistics(config.frontend), dtype=torch.float64))
        self.register_buffer("taken", torch.tensor(False))
        self._frontend: tuple[tuple[float, float], FrontEnd] | None = None

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the owner's."""
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def take(self, preparation: Preparation) -> FrozenEncoder:
        """Take over weights and statistics of the stage before, and return it.

        Raises:
            ConfigError: there is no such stage, or its encoder or front end is another than the settings say.
        """
        earlier = preparation.earlier
        if earlier is None:
            raise ConfigError(
                "this objective goes on from an earlier stage, and there is none; pre-train by a recipe that names the "
                "stage before, or give its run folder (--earlier)"
            )
        found = getattr(earlier.encoder, "config", None)
        if found is None or found != self.config.encoder:
            raise ConfigError(
                f"the stage before, {earlier.name}, has another encoder than this objective expects: found "
                f"{_differences(found, self.config.encoder)}; give the run of the stage that the recipe names, or set "
                "the objective's `earlier` to the settings of the run that is given"
            )
        settings = earlier.frontend.config
        if _plain(settings) != _plain(self.config.frontend):
            raise ConfigError(
                f"the stage before, {earlier.name}, has another front end than this objective expects: found "
                f"{_differences(_plain(settings), _plain(self.config.frontend))}; give the run of the stage that the "
                "recipe names, or set the objective's `earlier` to the settings of the run that is given"
            )
        self.encoder.load_state_dict(earlier.encoder.state_dict())
        self.statistics.copy_(torch.tensor(_statistics(settings), dtype=torch.float64))
        self.taken.fill_(True)
        return earlier

    @torch.no_grad()
    def tokenize(self, view: View) -> Tokens:
        """Return its tokens of the clean waveform behind a view, before context.

        Raises:
            ConfigError: no stage was taken over, or the view has no clean waveform in step with it.
        """
        if not bool(self.taken):
            raise ConfigError(
                "the stage before was not taken over: call objective.prepare first (auricle.pretrain does it)"
            )
        if view.reference is None:
            raise ConfigError(
                "the stage before hears the clean waveform, and the view was moved or stretched in time; choose an "
                "augmentation that keeps time (PlainViewsConfig, or a plan without rolling and stretching)"
            )
        with torch.autocast(view.reference.wave.device.type, enabled=False):
            return self.encoder.tokenize(self._features()(view.reference))

    @torch.no_grad()
    def tokens(self, view: View, layers: Sequence[int] = ()) -> Tokens:
        """Return its tokens of the clean waveform behind a view, after context; see `tokenize`."""
        tokens = self.tokenize(view)
        with torch.autocast(tokens.x.device.type, enabled=False):
            return self.encoder.contextualize(tokens, layers)

    def _features(self) -> FrontEnd:
        """Return the front end with the statistics that the buffers hold now."""
        mean, std = self.statistics.tolist()
        if self._frontend is None or self._frontend[0] != (mean, std):
            settings = self.config.frontend
            if std > 0:
                settings = settings.with_statistics(mean, std)
            self._frontend = ((mean, std), settings.build().eval())
        return self._frontend[1].to(self.statistics.device)


def check_grid(found: Grid, expected: Grid, what: str) -> None:
    """Refuse a stage whose tokens do not lie where those of the encoder lie.

    Raises:
        ConfigError: naming both grids, and the rate that would fit.
    """
    if (found.time, found.freq) != (expected.time, expected.freq):
        raise ConfigError(
            f"{what} has {found.time} x {found.freq} tokens at {found.rate:g} time steps per second, the encoder "
            f"{expected.time} x {expected.freq} at {expected.rate:g}; both must lie on one grid: choose an encoder "
            f"with {found.rate:g} time steps per second and {found.freq} rows of tokens, or an earlier stage with "
            f"{expected.rate:g} and {expected.freq}"
        )


def on_device(view: View, device: torch.device) -> View:
    """Return a view whose features and clean waveform are on a device."""
    reference = None if view.reference is None else view.reference.to(device)
    return replace(view, features=view.features.to(device), reference=reference)


def _statistics(settings: FrontEndConfig) -> tuple[float, float]:
    mean, std = getattr(settings, "mean", None), getattr(settings, "std", None)
    return (0.0, 0.0) if mean is None or std is None else (float(mean), float(std))


def _plain(settings: FrontEndConfig) -> FrontEndConfig:
    """Return front end settings without what is measured on a corpus."""
    return settings.with_statistics(0.0, 1.0) if settings.uses_statistics else settings


def _differences(found: Config | None, expected: Config) -> str:
    """Say in which settings two configurations differ."""
    if found is None or type(found) is not type(expected):
        return f"{type(found).__name__}, expected {type(expected).__name__}"
    own, its = found.to_json(), expected.to_json()
    return "; ".join(f"{name} {own[name]!r}, expected {its.get(name)!r}" for name in own if own[name] != its.get(name))
