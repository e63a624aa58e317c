"""The encoder of the previous stage, frozen inside an objective that takes its targets from the encoder's layers.

The encoder is part of the objective and of its checkpoints, so that a run resumes, and is read, without the folder of
the previous stage. Its settings are known from the beginning; `adopt` loads its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

import torch
import tyro
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.config import Config
from auricle.encoders.contract import EncoderConfig, Tokens
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import ConfigError


@dataclass(frozen=True)
class PreviousEncoderConfig(Config):
    """Model of the previous stage: recipes put the settings of `previous` here.

    Attributes:
        encoder: its encoder.
        frontend: its front end; the statistics are those of the run, not those set here.
    """

    # No flags: pre-training fills in the settings of the previous stage.
    encoder: Annotated[EncoderConfig, tyro.conf.SuppressFixed, tyro.conf.Fixed] = field(
        default_factory=WaveformTransformerConfig
    )
    frontend: Annotated[FrontEndConfig, tyro.conf.SuppressFixed, tyro.conf.Fixed] = field(
        default_factory=WaveformConfig
    )

    def build(self) -> PreviousEncoder:
        """Build the encoder; `adopt` loads its weights."""
        return PreviousEncoder(self)


class PreviousEncoder(nn.Module):
    """The encoder of the previous stage, always in evaluation mode and without gradient.

    Attributes:
        width: of its tokens.
        depth: number of its layers.
    """

    # The front end's mean and standard deviation, measured by the previous stage; zeros: none.
    statistics: Tensor
    # Whether weights were adopted.
    adopted: Tensor

    def __init__(self, config: PreviousEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _fresh(config.encoder).build().requires_grad_(False)
        self.width, self.depth = self.encoder.width, self.encoder.depth
        self.register_buffer("statistics", torch.zeros(2))
        self.register_buffer("adopted", torch.zeros((), dtype=torch.int64))
        self._frontend: FrontEnd | None = None
        self.train()

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._frontend = None  # to be built again, with the statistics that were loaded

    @torch.no_grad()
    def adopt(self, previous: FrozenEncoder | None, owner: str) -> None:
        """Load weights and statistics of the previous stage.

        Args:
            previous: the model that the stage trained.
            owner: name of the target or term, for messages.

        Raises:
            ConfigError: there is none, or the model is another one than the settings describe.
        """
        if previous is None:
            raise ConfigError(
                f"{owner} takes its targets from the encoder of a previous stage, and there is none; choose a recipe "
                "with a previous stage, or set --previous to the run folder of such a stage"
            )
        found: Config | None = getattr(previous.encoder, "config", None)
        if found is not None:
            _compare(f"the encoder of {previous.name}", owner, _fresh(found), _fresh(self.config.encoder))
        mine, its = self.encoder.state_dict(), previous.encoder.state_dict()
        if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in its.items()}:
            differing = sorted(k for k in mine.keys() | its.keys() if k not in mine or k not in its) or sorted(mine)
            raise ConfigError(
                f"the weights of {previous.name} are those of another encoder than {owner} is set to learn from "
                f"({differing[0]} ...); set the target's `previous` to the settings of that stage"
            )
        theirs = previous.frontend.config
        plain = theirs.with_statistics(0.0, 1.0), self.config.frontend.with_statistics(0.0, 1.0)
        _compare(f"the front end of {previous.name}", owner, *plain)
        self.encoder.load_state_dict(its)
        mean, std = getattr(theirs, "mean", None), getattr(theirs, "std", None)
        if theirs.uses_statistics and mean is not None and std is not None:
            self.statistics.copy_(torch.tensor([mean, std]))
        self.adopted.fill_(1)
        self._frontend = None

    @property
    def frontend(self) -> FrontEnd:
        """The front end, with the statistics of the previous stage.

        Raises:
            ConfigError: no weights are loaded yet.
        """
        if self._frontend is None:
            if not int(self.adopted):
                raise ConfigError(
                    "targets come from the encoder of a previous stage, whose weights are not loaded; call the "
                    "objective's `prepare` (`pretrain` does), or load a checkpoint, before the first step"
                )
            mean, std = self.statistics.tolist()
            config = self.config.frontend
            # Not in the module tree: a front end has no weights, and the tree must not change after construction.
            self.__dict__["_frontend"] = (config.with_statistics(mean, std) if std > 0 else config).build()
        made: FrontEnd = self.__dict__["_frontend"]
        return made

    @torch.no_grad()
    def forward(self, audio: Audio, layers: Sequence[int] = ()) -> Tokens:
        """Encode a batch of clips by its own front end; see `Encoder.forward`.

        Raises:
            ConfigError: no weights are loaded yet, or the clips do not fit the encoder (rate, length).
        """
        weight = next(self.encoder.parameters(), self.statistics)
        with torch.autocast(audio.wave.device.type, enabled=False):
            made = self.frontend(audio)
            features = Features(made.x.to(weight.dtype), made.lengths, made.rate, made.pad)
            return self.encoder(features, layers)


def _fresh(config: Any) -> Any:
    # Settings that load published weights have a form without them: `adopt` loads the weights.
    return config.fresh() if hasattr(config, "fresh") else config


def _compare(what: str, owner: str, found: Config, expected: Config) -> None:
    if found == expected:
        return
    its, mine = found.to_json(), expected.to_json()
    differing = [f"{k}: found {its.get(k)}, expected {mine.get(k)}" for k in its | mine if its.get(k) != mine.get(k)]
    raise ConfigError(
        f"{what} is not the one that {owner} is set to learn from ({'; '.join(differing[:3])}); prepare with "
        "the encoder of that stage, or set the target's `previous` to the settings of this one"
    )
