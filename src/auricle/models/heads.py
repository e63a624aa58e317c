"""The contract of a head: what a fitted model makes of the tokens or the vector of its encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, CheckpointError, ConfigError, Reason
from auricle.models.calibration import Calibration
from auricle.tokens.extract import encode_clips
from auricle.tokens.token_set import TokenSet
from auricle.tokens.writer import ClipTokens

Kind = Literal["clips", "events", "regression", "anomaly", "verification", "sequence"]


@dataclass(frozen=True, kw_only=True)
class Head(ABC):
    """Base of the heads of fitted models.

    Attributes:
        kind: type of task that it was fitted for.
        classes: C names; of a regression or an anomaly score one name.
        single: one label a clip (scores add up to one), or any number of labels.
        thresholds: one a class, chosen on validation clips for a stated goal; empty: none was chosen.
        segment: length in seconds of the windows that it was fitted on; None: whole clips.
        calibration: of its scores.
        unseen: classes without a training clip: they score 0.
        details: further facts of the type (units, goal, decoding ...), JSON-ready.
    """

    form: ClassVar[str] = ""
    _known: ClassVar[dict[str, type[Head]]] = {}

    kind: Kind
    classes: tuple[str, ...]
    single: bool = False
    thresholds: tuple[float, ...] = ()
    segment: float | None = None
    calibration: Calibration = field(default_factory=Calibration)
    unseen: tuple[int, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reads(self) -> str:
        """Fingerprint of the encoder that it was fitted on; "": any of the right width."""
        return ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.form:
            Head._known[cls.form] = cls

    @abstractmethod
    def of_tokens(self, tokens: TokenSet) -> Tensor:
        """Return scores `(n, C)` float32 of the tokens of clips, before calibration.

        Raises:
            ConfigError: the tokens are of another encoder, or the head has no score of a clip.
        """

    def layers(self, frozen: FrozenEncoder) -> tuple[int, ...] | None:
        """Return the layers whose stack the head reads; None: the encoder's output."""
        return None

    def raw(self, frozen: FrozenEncoder, audio: Audio) -> Tensor:
        """Return scores `(B, C)` float32 before calibration; see `scores`."""
        return self.of_tokens(live_tokens(frozen, audio, self.layers(frozen), name=self.reads))

    def scores(self, frozen: FrozenEncoder, audio: Audio) -> Tensor:
        """Return `(B, C)` float32 on the CPU: calibrated probabilities; numbers in their units; anomaly scores.

        Args:
            frozen: the encoder that the head was fitted on.
            audio: clips at its rate.

        Raises:
            AudioError: a clip is too short for the encoder.
            ConfigError: the head has no score of a clip.
        """
        return self.finished(self.raw(frozen, audio))

    def finished(self, raw: Tensor) -> Tensor:
        """Return scores `(..., C)` with unseen classes muted, calibrated."""
        found = self._muted(self.calibration.apply(self._muted(raw), self.single))
        if self.unseen and self.single:
            # What the muted classes had belongs to the others, as if they were muted before the softmax.
            found = found / found.sum(-1, keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)
        return found

    def _muted(self, scores: Tensor) -> Tensor:
        if self.unseen:
            scores = scores.clone()
            scores[..., list(self.unseen)] = 0.0
        return scores

    def frames(self, frozen: FrozenEncoder, audio: Audio) -> tuple[Tensor, float]:
        """Return calibrated scores of frames `(B, T, C)` float32, zeros beyond a clip, and the seconds of a frame.

        Raises:
            ConfigError: the head scores clips, not frames.
        """
        raise ConfigError(
            f"a head of type {self.kind} scores clips and has no frames; fit a model to events: auricle fit MODEL "
            "--task folder_events ..."
        )

    def nearest(self, frozen: FrozenEncoder, audio: Audio) -> list[tuple[str, float]]:
        """Return, of each of B clips, the name of the nearest normal clip and the distance to it: why it is anomalous.

        Raises:
            ConfigError: the head is none of anomalies.
        """
        raise ConfigError(
            f"a head of type {self.kind} knows no normal clips; fit a model to normal clips: auricle fit MODEL "
            "--task folder_anomaly ..."
        )

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return all that is the form's own but its tensors, JSON-ready."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the head by name."""

    @classmethod
    @abstractmethod
    def rebuilt(cls, common: dict[str, Any], record: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Rebuild a head from the attributes of this class, `record` and `tensors`."""

    def to_json(self) -> dict[str, Any]:
        """Return the record of the whole head; `Head.from_json` reads it."""
        return {
            "form": self.form,
            "kind": self.kind,
            "classes": list(self.classes),
            "single": self.single,
            "thresholds": list(self.thresholds),
            "segment": self.segment,
            "calibration": self.calibration.to_json(),
            "unseen": list(self.unseen),
            "details": dict(self.details),
            "own": self.record(),
        }

    @staticmethod
    def from_json(record: Mapping[str, Any], tensors: dict[str, Tensor]) -> Head:
        """Rebuild a head of any form.

        Raises:
            CheckpointError: the form is unknown, or a part of the record is missing.
        """
        form = Head._known.get(record["form"])
        if form is None:
            raise CheckpointError(f"found a head of form {record['form']!r}, expected one of {', '.join(Head._known)}")
        common: dict[str, Any] = {
            "kind": record["kind"],
            "classes": tuple(map(str, record["classes"])),
            "single": bool(record["single"]),
            "thresholds": tuple(map(float, record["thresholds"])),
            "segment": record["segment"],
            "calibration": Calibration.from_json(record["calibration"]),
            "unseen": tuple(map(int, record["unseen"])),
            "details": dict(record["details"]),
        }
        head = form.rebuilt(common, record["own"], tensors)
        if len(head.thresholds) not in (0, len(head.classes)):
            raise ValueError(f"{len(head.thresholds)} thresholds of {len(head.classes)} classes")
        return head

    def with_thresholds(self, thresholds: Mapping[str, float] | float) -> Self:
        """Return the head with other thresholds: one for all classes, or by the names of some.

        Raises:
            ConfigError: the head has no class of a name.
        """
        if not isinstance(thresholds, Mapping):
            return replace(self, thresholds=(float(thresholds),) * len(self.classes))
        unknown = [name for name in thresholds if name not in self.classes]
        if unknown:
            raise ConfigError(f"the model has no class {unknown[0]!r}; its classes are {', '.join(self.classes)}")
        own = dict(zip(self.classes, self.thresholds or (0.5,) * len(self.classes), strict=True))
        return replace(self, thresholds=tuple(float(thresholds.get(name, value)) for name, value in own.items()))


def live_tokens(
    encoder: FrozenEncoder, audio: Audio, layers: Sequence[int] | None = None, *, name: str = ""
) -> TokenSet:
    """Return the tokens of a batch of clips, rounded as in a cache: a probe scores them as it scored cached ones.

    Args:
        encoder: the frozen encoder.
        audio: at the encoder's rate.
        layers: to stack, see `auricle.tokens.cache.TokenCache.select`; None: the encoder's output alone.
        name: recorded as the encoder of the tokens; "": the encoder's fingerprint.

    Raises:
        AudioError: a clip is too short for a token, or its tokens are not finite.
    """
    clips: list[ClipTokens] = []
    for place, clip in enumerate(encode_clips(encoder, audio, layers)):
        if isinstance(clip, Reason):
            raise AudioError(f"clip {place}: {clip}; pass longer clips, or pad them with zeros", cause=clip.cause)
        clips.append(clip)
    numbers = (encoder.depth,) if layers is None else tuple(layers)
    sets = [_token_layer(clips, place, number, name or encoder.fingerprint) for place, number in enumerate(numbers)]
    return sets[0] if layers is None else TokenSet.of_layers(sets)


def _token_layer(clips: Sequence[ClipTokens], place: int, layer: int, encoder: str) -> TokenSet:
    counts = np.array([len(clip.tokens[place]) for clip in clips], dtype=np.int64)
    rows = np.arange(len(clips), dtype=np.int64)
    cls = np.stack([clip.cls[place] for clip in clips])
    return TokenSet(
        tokens=np.concatenate([clip.tokens[place] for clip in clips]),
        valid=np.concatenate([clip.valid[place] for clip in clips]),
        start=counts.cumsum() - counts,
        time=np.array([clip.time[place] for clip in clips], dtype=np.int64),
        freq=clips[0].freq[place],
        rate=clips[0].rate[place],
        vectors=np.stack([clip.pooled for clip in clips]).astype(np.float32),
        row=rows,
        class_rows=cls if cls.shape[1] else None,
        encoder=encoder,
        layer=layer,
    )
