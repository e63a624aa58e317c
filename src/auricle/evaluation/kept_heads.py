"""The heads of an evaluation, kept: each reproduces the test predictions that were scored."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.models.clip_heads import LinearHead, ProbedHead
from auricle.models.folder import save_head
from auricle.models.frame_heads import EventsHead, SequenceHead
from auricle.models.heads import Head
from auricle.models.vector_heads import AnomalyHead, VerificationHead
from auricle.probes import FittedProbe, LossConfig, get_loss
from auricle.probes.ctc.search import FittedCtc
from auricle.probes.frames.search import FittedFrames
from auricle.probes.normal import NormalModelConfig
from auricle.tasks.shallow import LinearMap, ShallowConfig
from auricle.tasks.task_type import KeepHead

if TYPE_CHECKING:
    from auricle.evaluation.driver import PlannedTask


def head_of(kind: str, fitted: Any, facts: Mapping[str, Any], segment: float | None = None) -> Head:
    """Return what a task fitted as a head.

    Args:
        kind: type of the task.
        fitted: a fitted probe, a linear map, or a model of normal clips or of identities.
        facts: what the type says of it (`auricle.tasks.task_type.KeepHead`).
        segment: length in seconds of the windows that it was fitted on; None: whole clips.

    Raises:
        ConfigError: the type of task keeps no head.
    """
    common: dict[str, Any]
    if kind == "sequence" and isinstance(fitted, FittedCtc):
        symbols, shape = tuple(facts["symbols"]), facts["shape"]
        return SequenceHead(
            kind="sequence", classes=symbols, segment=segment, probe=fitted, shape=shape, on=facts["encoder"],
            unit=facts["unit"],
        )  # fmt: skip
    if kind == "events" and isinstance(fitted, FittedFrames):
        how = facts["decoding"]
        decoding = {"smooth": how["smooth"], "shortest": how["shortest"], "lasting": facts["sounds"] == "lasting"}
        return EventsHead(
            kind="events", classes=fitted.classes, thresholds=tuple(how["threshold"]), segment=segment, probe=fitted,
            details={"decoding": decoding},
        )  # fmt: skip
    if kind == "regression":
        common = {"kind": "regression", "classes": ("value",), "segment": segment}
        common["details"] = {"unit": facts["unit"]}
        return (
            ProbedHead(**common, probe=fitted)
            if isinstance(fitted, FittedProbe)
            else linear_head(fitted, get_loss("mse"), **common)
        )
    if kind == "clips" and isinstance(fitted, FittedProbe):
        common = {"kind": "clips", "classes": fitted.classes, "single": facts["single"], "segment": segment}
        return ProbedHead(**common, unseen=tuple(facts["unseen"]), probe=fitted)
    if kind == "anomaly" and isinstance(fitted, NormalModelConfig):
        normal = torch.from_numpy(facts["normal"])
        return AnomalyHead(
            kind="anomaly", classes=(facts["model"],), segment=segment, model=fitted, normal=normal,
            domain=(0,) * len(normal), names=tuple(facts["names"]), on=facts["encoder"],
        )  # fmt: skip
    if kind == "verification":
        learnt = facts["learnt"]
        mean, change = (None, None) if learnt is None else map(torch.from_numpy, learnt)
        return VerificationHead(
            kind="verification", classes=(), segment=segment, mean=mean, change=change, on=facts["encoder"]
        )
    raise ConfigError(f"found {type(fitted).__name__} of a task of type {kind}; expected one of its own probes")


def linear_head(found: LinearMap, loss: LossConfig, **common: Any) -> LinearHead:
    """Return a linear map of clip vectors as a head."""
    weight, bias, centre = (torch.from_numpy(x).float() for x in (found.weight, found.bias, found.centre))
    return LinearHead(**common, weight=weight, bias=bias, centre=centre, unit=found.unit, loss=loss)


@dataclass(frozen=True)
class KeptHeads:
    """The kept heads of one evaluation: `fold-NAME-seed-S/head.safetensors` for each division and seed.

    Attributes:
        folder: of the heads, once the evaluation is finished.
        kind: type of the task.
    """

    folder: Path
    kind: str

    @classmethod
    def of(cls, task: PlannedTask, role: str, probe: Config, name: str) -> Self | None:
        """Return where heads of an evaluation are kept; None: of controls and shallow classifiers they are not."""
        keeps = task.keep_heads and role == "pretrained" and not isinstance(probe, ShallowConfig)
        return cls(task.out / "heads" / name, task.task_type.name) if keeps else None

    @property
    def missing(self) -> bool:
        """Whether there are none yet."""
        return not self.folder.is_dir()

    def beside(self, parts: Path) -> tuple[Path, KeepHead]:
        """Return the folder of unfinished parts, and what writes heads into it.

        It is another than that of an evaluation that keeps no heads: its finished parts have theirs.
        """
        parts = parts.with_name(f"{parts.name}-heads")
        return parts, keep_in(parts / "heads", self.kind)

    def finish(self, parts: Path) -> None:
        """Move the heads from the folder of parts to their place."""
        if (parts / "heads").is_dir():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            (parts / "heads").replace(self.folder)


def keep_in(folder: Path, kind: str, segment: float | None = None) -> KeepHead:
    """Return what writes each head into `folder/fold-NAME-seed-S`."""

    def keep(fold: str, seed: int, fitted: Any, facts: dict[str, Any]) -> None:
        name = "".join(c if c.isalnum() else "-" for c in fold)
        save_head(folder / f"fold-{name}-seed-{seed}", head_of(kind, fitted, facts, segment))

    return keep
