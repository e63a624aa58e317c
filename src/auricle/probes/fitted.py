"""A fitted probe: its predictions, the search that chose it, and its file on disk."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from auricle.errors import CheckpointError, ConfigError
from auricle.probes.contract import ProbeConfig, ProbeHead
from auricle.probes.losses import LossConfig, Scaling
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.feed import Feed
from auricle.probes.search.selection import natural
from auricle.storage import write_atomic
from auricle.tensor_files import read_tensor_file, tensor_bytes
from auricle.tokens.token_set import TokenSet, TokenShape

FILE = "probe.safetensors"
_FORMAT = 1
_MARK = "auricle.probe"


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
        epochs: epochs trained, until the end or pruning.
        scores: validation metric after each epoch.
        watched: values recorded by the head after each epoch (protobin: `flips`, share of signs that flipped).
        reruns: validation metric by seed, for the best settings compared over several seeds.
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
        loss: that it minimised.
        search: settings of training and selection.
        metric: validation metric of the selection.
        trials: all settings tried, with their validation scores.
        chosen: place of the chosen one in `trials`.
        seed: of start and order.
        encoder: fingerprint of the encoder whose tokens it reads.
        layer: the layer it reads.
        scaling: of predicted numbers; None for labels.
        notes: remarks on its score (setting at the edge of the range, classes without clips, ...).
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
        """Validation metric of the chosen setting as usually stated: mean over re-run seeds; errors are positive."""
        return natural(float(np.mean(self.trial.reruns or [self.trial.score])), self.metric)

    @property
    def params(self) -> int:
        """Trainable parameters."""
        return self.head.params

    def logits(self, tokens: TokenSet) -> Tensor:
        """Return logits `(n, C)` float32 (standardised, where numbers are predicted).

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
            feed = Feed(tokens, self.head, memory_mb=0)
            return feed.gather(self.head)[0]

    def predict(self, tokens: TokenSet) -> np.ndarray:
        """Return `(n, C)` float32: softmax for `ce`, numbers in their own units, else a sigmoid for each class."""
        logits = self.logits(tokens)
        return (self.loss.scores(logits) if self.scaling is None else self.scaling.restore(logits)).numpy()

    def summary(self) -> dict[str, object]:
        """Return the probe's part of a result as JSON data: parameters, settings tried and chosen, seed."""
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

    def record(self) -> dict[str, Any]:
        """Return all of the probe but its weights, as JSON data; `from_record` reads it."""
        return {
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

    @classmethod
    def from_record(cls, record: dict[str, Any], weights: dict[str, Tensor]) -> Self:
        """Rebuild a probe.

        Args:
            record: JSON data of `record`.
            weights: state of the head.

        Raises:
            CheckpointError: the weights do not fit the settings, or a part of the record is missing.
        """
        try:
            return cls._rebuilt(record, weights)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the record of a probe is damaged ({error!r}); fit the probe again") from error

    @classmethod
    def _rebuilt(cls, record: dict[str, Any], weights: dict[str, Tensor]) -> Self:
        config, shape = ProbeConfig.from_json(record["config"]), TokenShape(**record["shape"])
        head = config.build(shape, len(record["classes"]), settings=1, generator=torch.Generator())
        try:
            head.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"the weights do not fit the probe's settings: {error}; fit it again") from error
        scaling = record.get("scaling")
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
            scaling=None if scaling is None else Scaling(tuple(scaling["mean"]), tuple(scaling["spread"])),
            notes=tuple(record.get("notes", ())),
        )

    def save(self, folder: Path | str) -> Path:
        """Write weights and record as one file, `probe.safetensors`, into a folder, atomically.

        Raises:
            StorageError: the disk is full or the folder can't be written.
        """
        return write_record(Path(folder) / FILE, _MARK, self.record(), self.head.state_dict())

    @classmethod
    def load(cls, folder: Path | str, *, encoder: str | None = None) -> Self:
        """Read a saved probe.

        Args:
            folder: the folder that it was saved in, or the file itself.
            encoder: fingerprint of the encoder that it must read; None: not checked here (`predict` checks).

        Raises:
            CheckpointError: there is no probe, the file is damaged, or it belongs to another encoder.
        """
        path, record, weights = read_record(folder, FILE, _MARK)
        if record.get("format") != _FORMAT:
            raise CheckpointError(
                f"{path} holds no auricle probe of format {_FORMAT}, found {record.get('format')}; fit it again"
            )
        if encoder is not None and record.get("encoder") != encoder:
            raise CheckpointError(
                f"the probe in {path} reads encoder {record.get('encoder')}, expected {encoder}; fit one for this "
                "encoder"
            )
        return cls.from_record(record, weights)


def write_record(path: Path, mark: str, record: dict[str, Any], weights: dict[str, Tensor]) -> Path:
    """Write tensors with a record as metadata `mark` into one safetensors file, atomically.

    Raises:
        StorageError: the disk is full or the folder can't be written.
    """
    write_atomic(path, tensor_bytes(weights, {mark: json.dumps(record)}))
    return path


def read_record(folder: Path | str, name: str, mark: str) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """Read a file of `write_record`, from its folder or its path; return path, record (empty: none) and tensors.

    Raises:
        CheckpointError: there is no such file, or it is damaged.
    """
    path = Path(folder)
    path = path / name if path.is_dir() else path
    if not path.is_file():
        raise CheckpointError(f"no probe at {path}; fit one and save it there")
    weights, metadata = read_tensor_file(path, "fit the probe again")
    try:
        return path, dict(json.loads(metadata.get(mark, "{}"))), weights
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the record in {path} is damaged ({error}); fit the probe again") from error


def _finite(trial: dict[str, Any]) -> dict[str, Any]:
    """Replace infinity, which JSON lacks, by None."""
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
