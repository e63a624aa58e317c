"""A fitted probe: predicts, says how it was chosen, and goes to disk and back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from auricle.errors import CheckpointError, ConfigError
from auricle.probes.contract import ProbeConfig, ProbeHead
from auricle.probes.losses import LossConfig
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.feed import Feed
from auricle.probes.search.scaling import Scaling
from auricle.probes.search.selection import natural
from auricle.storage import write_atomic
from auricle.tokens.token_set import TokenSet, TokenShape

FILE = "probe.safetensors"
_FORMAT = 1


@dataclass
class Trial:
    """One setting that was tried.

    Attributes:
        lr: peak learning rate.
        weight_decay: its weight decay.
        score: validation metric at its best (or last) epoch, higher is better (`mae` and `rmse` with a minus sign);
            minus infinity if it never was finite.
        loss: validation loss at that epoch.
        epoch: that epoch, counted from 1; 0: none.
        epochs: epochs it was trained for before it ended or was pruned.
        scores: validation metric after each epoch.
        watched: what the head recorded after each epoch (protobin: `flips`, share of signs that flipped).
        reruns: validation metric by seed, for the few best settings that were compared over several seeds.
    """

    lr: float
    weight_decay: float
    score: float = -math.inf
    loss: float = math.inf
    epoch: int = 0
    epochs: int = 0
    scores: list[float] = field(default_factory=list)
    watched: dict[str, list[float]] = field(default_factory=dict)
    reruns: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class FittedProbe:
    """A probe at its chosen setting.

    Attributes:
        config: the probe's settings.
        head: its one trained head (settings axis of one), in evaluation mode on the CPU.
        shape: of the tokens that it reads.
        classes: names of the C classes.
        loss: what it minimised.
        search: how it was trained and its setting chosen.
        metric: the validation metric that chose.
        trials: all settings tried, with their validation scores.
        chosen: place of the chosen one in `trials`.
        seed: of start and order.
        encoder: fingerprint of the encoder whose tokens it reads.
        layer: the layer it reads.
        scaling: how predicted numbers are put into their own units; None for labels.
        notes: what a reader of its score must know (setting at the edge of the range, classes without clips ...).
    """

    config: ProbeConfig
    head: ProbeHead
    shape: TokenShape
    classes: tuple[str, ...]
    loss: LossConfig
    search: SearchConfig
    metric: str
    trials: list[Trial]
    chosen: int
    seed: int
    encoder: str
    layer: int
    scaling: Scaling | None = None
    notes: tuple[str, ...] = ()

    @property
    def trial(self) -> Trial:
        """The chosen setting."""
        return self.trials[self.chosen]

    @property
    def validation(self) -> float:
        """Validation metric of the chosen setting as people state it: mean over re-run seeds; errors are positive."""
        return natural(float(np.mean(self.trial.reruns or [self.trial.score])), self.metric)

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return self.head.params

    def logits(self, tokens: TokenSet) -> Tensor:
        """Return logits `(n, C)` float32 of each clip (standardised numbers, where numbers are predicted).

        Raises:
            ConfigError: the tokens are of another shape or another encoder than the probe was fitted on.
        """
        if tokens.shape != self.shape:
            raise ConfigError(f"the probe reads tokens of {self.shape}, found {tokens.shape}; use its own encoder")
        if tokens.encoder != self.encoder:
            raise ConfigError(
                f"the probe was fitted on encoder {self.encoder!r}, these tokens are from {tokens.encoder!r}"
                "; extract tokens with the probe's encoder, or fit a new probe"
            )
        if len(tokens) == 0:
            return torch.zeros(0, len(self.classes))
        with torch.no_grad():
            # Nothing is held: one pass reads each clip once.
            feed = Feed(tokens, self.head, memory_mb=0)
            return feed.gather(self.head)[0]

    def predict(self, tokens: TokenSet) -> np.ndarray:
        """Return `(n, C)` float32: softmax for `ce`, numbers in their own units, else a sigmoid for each class."""
        logits = self.logits(tokens)
        return (self.loss.scores(logits) if self.scaling is None else self.scaling.restore(logits)).numpy()

    def summary(self) -> dict[str, object]:
        """Return what a result must say of its probe: parameters, settings tried and chosen, seed, as JSON data."""
        return {
            "probe": self.config.to_json(),
            "loss": self.loss.to_json(),
            "search": self.search.to_json(),
            "metric": self.metric,
            "params": self.params,
            "seed": self.seed,
            "chosen": _finite(asdict(self.trial)),
            "tried": [
                _finite({k: v for k, v in asdict(t).items() if k not in ("scores", "watched")}) for t in self.trials
            ],
            "notes": list(self.notes),
        }

    def save(self, folder: Path | str) -> Path:
        """Write `probe.safetensors` (one file: weights, and all the rest as metadata) into a folder, atomically.

        Raises:
            StorageError: the disk is full or the folder can't be written.
        """
        record = {
            "format": _FORMAT,
            "config": self.config.to_json(),
            "shape": asdict(self.shape),
            "classes": list(self.classes),
            "loss": self.loss.to_json(),
            "search": self.search.to_json(),
            "metric": self.metric,
            "trials": [_finite(asdict(t)) for t in self.trials],
            "chosen": self.chosen,
            "seed": self.seed,
            "encoder": self.encoder,
            "layer": self.layer,
            "scaling": None if self.scaling is None else asdict(self.scaling),
            "notes": list(self.notes),
        }
        state = {name: t.contiguous() for name, t in self.head.state_dict().items()}
        path = Path(folder) / FILE
        # One file, so that weights and record can't come from different probes.
        write_atomic(path, safetensors.torch.save(state, metadata={"auricle.probe": json.dumps(record)}))
        return path

    @classmethod
    def load(cls, folder: Path | str, *, encoder: str | None = None) -> Self:
        """Read a probe back.

        Args:
            folder: the folder that it was saved in, or the file itself.
            encoder: fingerprint of the encoder that it shall read; None: not checked here (`predict` checks).

        Raises:
            CheckpointError: there is no probe, the file is damaged, or it belongs to another encoder.
        """
        path = Path(folder)
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise CheckpointError(f"no probe at {path}; fit one and save it there")
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); fit the probe again") from error
        if "auricle.probe" not in metadata:
            raise CheckpointError(f"{path} holds no auricle probe; expected a file written by FittedProbe.save")
        record = json.loads(metadata["auricle.probe"])
        if record["format"] != _FORMAT:
            raise CheckpointError(f"{path} has format {record['format']}, this auricle reads {_FORMAT}; fit it again")
        if encoder is not None and record["encoder"] != encoder:
            raise CheckpointError(
                f"the probe in {path} reads encoder {record['encoder']}, expected {encoder}; fit one for this encoder"
            )
        config, shape = ProbeConfig.from_json(record["config"]), TokenShape(**record["shape"])
        head = config.build(shape, len(record["classes"]), settings=1, generator=torch.Generator())
        try:
            head.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"the weights in {path} do not fit its settings: {error}; fit it again") from error
        return cls(
            config=config,
            head=head.eval(),
            shape=shape,
            classes=tuple(record["classes"]),
            loss=LossConfig.from_json(record["loss"]),
            search=SearchConfig.from_json(record["search"]),
            metric=record["metric"],
            trials=[Trial(**_infinite(t)) for t in record["trials"]],
            chosen=record["chosen"],
            seed=record["seed"],
            encoder=record["encoder"],
            layer=record["layer"],
            scaling=_scaling(record.get("scaling")),
            notes=tuple(record.get("notes", ())),
        )


def _scaling(data: dict[str, list[float]] | None) -> Scaling | None:
    return None if data is None else Scaling(tuple(data["mean"]), tuple(data["spread"]))


def _finite(trial: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity: None stands for it."""
    return {
        k: [_or_none(x) for x in v] if isinstance(v, list) else _or_none(v) if isinstance(v, float) else v
        for k, v in trial.items()
    }


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _infinite(trial: dict[str, Any]) -> dict[str, Any]:
    def restore(value: float | None) -> float:
        return -math.inf if value is None else value

    fixed = {
        "score": restore(trial["score"]),
        "scores": [restore(x) for x in trial["scores"]],
        "reruns": [restore(x) for x in trial.get("reruns", [])],
    }
    loss = math.inf if trial["loss"] is None else trial["loss"]
    return {**trial, **fixed, "loss": loss}
