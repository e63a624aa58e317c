"""Heads of clips: a probe of tokens, and a linear map of the clip vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.encoders.frozen import FrozenEncoder
from auricle.models.heads import Head
from auricle.probes.fitted import FittedProbe
from auricle.probes.losses import LossConfig
from auricle.tokens.token_set import TokenSet


@dataclass(frozen=True, kw_only=True)
class ProbedHead(Head):
    """A probe of tokens; its scores are those of the same probe in an evaluation.

    Attributes:
        probe: the fitted probe: labels of clips, or numbers.
    """

    form: ClassVar[str] = "probe"
    probe: FittedProbe

    @property
    def reads(self) -> str:
        return self.probe.encoder

    def layers(self, frozen: FrozenEncoder) -> tuple[int, ...] | None:
        return (tuple(range(1, frozen.depth + 1)) or (0,)) if self.probe.config.reads == "layers" else None

    def of_tokens(self, tokens: TokenSet) -> Tensor:
        return torch.from_numpy(self.probe.predict(tokens))

    def record(self) -> dict[str, Any]:
        return self.probe.record()

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.probe.head.state_dict())

    @classmethod
    def rebuilt(cls, common: dict[str, Any], record: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        return cls(**common, probe=same_classes(FittedProbe.from_record(record, tensors), common["classes"]))


@dataclass(frozen=True, kw_only=True)
class LinearHead(Head):
    """A linear map of the clip vector: what fine-tuning trains, and what solvers in closed form find.

    Attributes:
        weight: `(C, D')`.
        bias: `(C,)`.
        norm: vectors are layer-normed first.
        centre: `(D',)`, subtracted from the vectors; None: nothing is.
        unit: vectors are scaled to length one after that.
        loss: which scores its outputs are: softmax, a sigmoid for each class, or numbers.
    """

    form: ClassVar[str] = "linear"
    weight: Tensor
    bias: Tensor
    norm: bool = False
    centre: Tensor | None = None
    unit: bool = False
    loss: LossConfig

    def raw(self, frozen: FrozenEncoder, audio: Audio) -> Tensor:
        with torch.no_grad():
            return self.of_vectors(frozen.pooled(audio).float().cpu())

    def of_tokens(self, tokens: TokenSet) -> Tensor:
        return self.of_vectors(torch.from_numpy(tokens.pooled.astype("float32")))

    def of_vectors(self, x: Tensor) -> Tensor:
        """Return scores `(n, C)` of clip vectors `(n, D')`, before calibration."""
        return self.loss.scores(self.outputs(x))

    def outputs(self, x: Tensor) -> Tensor:
        """Return outputs `(n, C)` of clip vectors `(n, D')`: logits, or numbers."""
        if self.norm:
            x = torch.nn.functional.layer_norm(x, x.shape[-1:])
        if self.centre is not None:
            x = x - self.centre
        if self.unit:
            x = torch.nn.functional.normalize(x, dim=-1)
        return torch.nn.functional.linear(x, self.weight, self.bias)

    def record(self) -> dict[str, Any]:
        return {"norm": self.norm, "unit": self.unit, "loss": self.loss.to_json()}

    def tensors(self) -> dict[str, Tensor]:
        held = {"weight": self.weight, "bias": self.bias}
        return held if self.centre is None else held | {"centre": self.centre}

    @classmethod
    def rebuilt(cls, common: dict[str, Any], record: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        outputs, names = (len(tensors["weight"]), len(tensors["bias"])), common["classes"]
        if outputs != (len(names), len(names)):
            raise ValueError(f"{outputs[0]} outputs of {len(names)} classes")
        return cls(
            **common,
            weight=tensors["weight"],
            bias=tensors["bias"],
            norm=bool(record["norm"]),
            centre=tensors.get("centre"),
            unit=bool(record["unit"]),
            loss=LossConfig.from_json(record["loss"]),
        )


Probe = TypeVar("Probe", bound=FittedProbe)


def same_classes(probe: Probe, classes: Sequence[str]) -> Probe:
    """Return a probe whose classes are those of its head.

    Raises:
        ValueError: they differ.
    """
    if probe.classes != tuple(classes):
        raise ValueError(f"the probe has the classes {', '.join(probe.classes)}, its head {', '.join(classes)}")
    return probe
