"""Heads of frames: events by a frame-wise probe, texts by a sequence probe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError, ConfigError
from auricle.models.clip_heads import same_classes
from auricle.models.heads import Head, live_tokens
from auricle.probes.ctc.heads import CtcConfig
from auricle.probes.ctc.search import FittedCtc
from auricle.probes.fitted import Trial
from auricle.probes.frames import protobin, stack  # noqa: F401 - a saved head names their settings
from auricle.probes.frames.search import FittedFrames, frame_scores
from auricle.tokens.token_set import TokenSet, TokenShape


@dataclass(frozen=True, kw_only=True)
class EventsHead(Head):
    """A frame-wise probe; its thresholds and `details["decoding"]` turn its scores into events.

    The decoding has `smooth`, seconds of the median filter, `shortest`, seconds of the shortest event (of onsets the
    least time between two), and `lasting`: events have onset and offset, or onsets only. The score of a clip is the
    highest of its frames.

    Attributes:
        probe: the fitted probe.
    """

    form: ClassVar[str] = "frames"
    probe: FittedFrames

    @property
    def reads(self) -> str:
        return self.probe.encoder

    def of_tokens(self, tokens: TokenSet) -> Tensor:
        return torch.stack([torch.from_numpy(table).amax(0) for table in frame_scores(self.probe, tokens)])

    def frames(self, frozen: FrozenEncoder, audio: Audio) -> tuple[Tensor, float]:
        tokens = live_tokens(frozen, audio, name=self.reads)
        tables = [torch.from_numpy(table) for table in frame_scores(self.probe, tokens)]
        padded = torch.nn.utils.rnn.pad_sequence(tables, batch_first=True)
        return self.finished(padded), 1 / (tokens.rate * self.probe.config.upsample)  # type: ignore[attr-defined]

    def record(self) -> dict[str, Any]:
        return self.probe.record()

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.probe.head.state_dict())

    @classmethod
    def rebuilt(cls, common: dict[str, Any], record: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        return cls(**common, probe=same_classes(FittedFrames.from_record(record, tensors), common["classes"]))


@dataclass(frozen=True, kw_only=True)
class SequenceHead(Head):
    """A sequence probe trained by CTC: texts of clips, no score.

    Attributes:
        probe: the fitted probe; its class 0 is the blank, class i + 1 the i-th of `classes`, the symbols.
        shape: of the tokens that it reads.
        on: fingerprint of the encoder that it was fitted on.
        unit: `characters`, or `phones` separated by spaces.
    """

    form: ClassVar[str] = "ctc"
    probe: FittedCtc = field(repr=False)
    shape: TokenShape
    on: str
    unit: str = "characters"

    @property
    def reads(self) -> str:
        return self.on

    def of_tokens(self, tokens: TokenSet) -> Tensor:
        raise ConfigError("a model of sequences has texts and no scores; call `transcribe` instead of `predict`")

    def texts(self, frozen: FrozenEncoder, audio: Audio) -> list[str]:
        """Return the text of each clip.

        Raises:
            AudioError: a clip is too short for the encoder.
        """
        return self.texts_of(live_tokens(frozen, audio, name=self.on))

    def texts_of(self, tokens: TokenSet) -> list[str]:
        """Return the text of each clip of some tokens."""
        glue = "" if self.unit == "characters" else " "
        found = self.probe.decode(tokens)
        return [" ".join(glue.join(self.classes[i - 1] for i in one.tolist()).split()) for one in found]

    def record(self) -> dict[str, Any]:
        shape, trial = asdict(self.shape), self.probe.trial
        chosen = {"lr": trial.lr, "weight_decay": trial.weight_decay}
        config = self.probe.config.to_json()
        return {"config": config, "shape": shape, "on": self.on, "unit": self.unit, "chosen": chosen}

    def tensors(self) -> dict[str, Tensor]:
        return {name: t.cpu() for name, t in self.probe.head.state_dict().items()}

    @classmethod
    def rebuilt(cls, common: dict[str, Any], record: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        config, shape = CtcConfig.from_json(record["config"]), TokenShape(**record["shape"])
        head = config.build(shape, len(common["classes"]) + 1, settings=1, generator=torch.Generator())
        try:
            head.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(f"the weights do not fit the probe's settings: {error}; fit it again") from error
        probe = FittedCtc(config, head.eval(), [Trial(**record["chosen"])], 0, ())
        return cls(**common, probe=probe, shape=shape, on=record["on"], unit=record["unit"])
