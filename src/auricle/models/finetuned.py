"""A fine-tuned encoder with its classifier on disk: `finetuned.json` and `finetuned.safetensors` in one folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.config import Config
from auricle.encoders.contract import Encoder
from auricle.encoders.features import OUTPUT, FeaturesConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError, ConfigError
from auricle.probes.losses import LossConfig
from auricle.storage import write_atomic
from auricle.tensor_files import read_metadata, read_tensor_file, tensor_bytes
from auricle.training.checkpoint import load_tensors

FILE, CARD = "finetuned.safetensors", "finetuned.json"
_FORMAT = 1


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned encoder and its classifier.

    Attributes:
        encoder: the encoder, ready to embed, to extract tokens from, to probe.
        weight: `(C, D')` of the classifier.
        bias: `(C,)`.
        classes: C names.
        norm: whether clip vectors are layer-normed before the classifier.
        loss: the training loss, which decides between softmax and sigmoid.
        card: task, corpus, fold, seed, epoch, validation score, mode.
    """

    encoder: FrozenEncoder
    weight: Tensor
    bias: Tensor
    classes: tuple[str, ...]
    norm: bool
    loss: LossConfig
    card: dict[str, Any]

    @torch.no_grad()
    def logits(self, audio: Audio) -> Tensor:
        """Return logits `(B, C)` of clips of any length at the encoder's rate."""
        pooled = self.encoder.encode(audio)[1].float().cpu()
        if self.norm:
            pooled = torch.nn.functional.layer_norm(pooled, pooled.shape[-1:])
        return torch.nn.functional.linear(pooled, self.weight, self.bias)

    def predict(self, wave: np.ndarray | Sequence[np.ndarray], rate: int) -> np.ndarray:
        """Return probabilities of the classes, `(C,)` for one clip `(S,)`, else `(B, C)`; see `FrozenEncoder.embed`.

        Raises:
            AudioError: the audio is empty or not finite.
        """
        vectors = torch.from_numpy(self.encoder.embed(wave, rate))
        if self.norm:
            vectors = torch.nn.functional.layer_norm(vectors, vectors.shape[-1:])
        return self.loss.scores(torch.nn.functional.linear(vectors, self.weight, self.bias)).numpy()


def check_savable(frozen: FrozenEncoder) -> None:
    """Refuse an encoder that could not be loaded again, before it is trained.

    Raises:
        ConfigError: it carries no settings to rebuild it from.
    """
    settings = getattr(frozen.encoder, "config", None)
    if not isinstance(settings, Config) or not hasattr(settings, "build"):
        raise ConfigError(
            f"{frozen.name} carries no settings to rebuild it from, so it can't be saved after "
            "fine-tuning; set --no-save (Python: save=False)"
        )


def save_finetuned(
    folder: Path,
    encoder: Encoder,
    head: nn.Linear,
    frozen: FrozenEncoder,
    *,
    norm: bool,
    classes: Sequence[str],
    loss: LossConfig,
    card: dict[str, Any],
) -> Path:
    """Write a fine-tuned model.

    Args:
        folder: to write.
        encoder: the fine-tuned encoder, low-rank updates merged into its weights, so that loading it needs no extra.
        head: the classifier.
        frozen: the encoder that training started from.
        norm: whether clip vectors are layer-normed before the classifier.
        classes: names of the classes.
        loss: the training loss.
        card: further facts, JSON-ready; `validation` among them.

    Raises:
        ConfigError: the encoder carries no settings to rebuild it from.
        StorageError: the disk is full, or the folder can't be written.
    """
    check_savable(frozen)
    settings: Any = frozen.encoder.config
    record = {
        "format": _FORMAT,
        "name": frozen.name,
        "from": frozen.fingerprint,
        "notes": list(frozen.notes),
        "encoder": settings.to_json(),
        "frontend": frozen.frontend.config.to_json(),
        "precision": frozen.precision,
        "features": frozen.features.to_json(),
        "classes": list(classes),
        "norm": norm,
        "loss": loss.to_json(),
        "card": card,
    }
    tensors = {f"encoder.{name}": t for name, t in encoder.state_dict().items()}
    tensors |= {f"head.{name}": t for name, t in head.state_dict().items()}
    # The record travels with the weights, so that the two can't come from different models; the JSON is for people.
    write_atomic(folder / FILE, tensor_bytes(tensors, {"auricle.finetuned": json.dumps(record)}))
    write_atomic(folder / CARD, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    return folder


def read_card(folder: Path) -> dict[str, Any] | None:
    """Return the card of a saved model, or None if there is none (or a damaged one)."""
    try:
        return dict(json.loads(read_metadata(folder / FILE)["auricle.finetuned"])["card"])
    except (KeyError, ValueError):
        return None


def load_finetuned(path: Path | str) -> Finetuned:
    """Load a fine-tuned model with its classifier.

    Args:
        path: the folder that fine-tuning wrote, or its `finetuned.safetensors`.

    Raises:
        CheckpointError: there is none, it is damaged, or another version of auricle wrote it.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"no fine-tuned encoder at {path}; expected the folder that `auricle finetune` wrote")
    tensors, metadata = read_tensor_file(file, "fine-tune again")
    if "auricle.finetuned" not in metadata:
        raise CheckpointError(f"{file} holds no fine-tuned encoder of auricle; expected a file of `auricle finetune`")
    try:
        return _rebuilt(file, json.loads(metadata["auricle.finetuned"]), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the record in {file} is damaged ({error!r}); fine-tune again") from error


def _rebuilt(file: Path, record: dict[str, Any], tensors: dict[str, Tensor]) -> Finetuned:
    """Rebuild a model from the record and the tensors of its file."""
    if record["format"] != _FORMAT:
        raise CheckpointError(f"{file} has format {record['format']}, this auricle reads {_FORMAT}; fine-tune again")
    try:
        settings: Any = Config.from_json(record["encoder"])
        frontend = FrontEndConfig.from_json(record["frontend"]).build()
        features = FeaturesConfig.from_json(record["features"]) if "features" in record else OUTPUT
    except ConfigError as error:
        raise CheckpointError(
            f"the settings in {file} can't be read: {error}; they are of another version of auricle, or use a plug-in: "
            "import its module first (auricle --plugin MODULE ...)"
        ) from error
    encoder: Encoder = settings.build(torch.Generator().manual_seed(0))
    load_tensors(encoder, _part(tensors, "encoder."), str(file))
    head = _part(tensors, "head.")
    card = record["card"]
    name = f"{record['name']}, fine-tuned on {card.get('task', 'labelled clips')}"
    note = f"fine-tuned ({card.get('mode', '')}) with the labels of {card.get('corpus', 'a corpus')}"
    probe = FrozenEncoder(
        frontend, encoder, name=name, notes=(*record["notes"], note), precision=record["precision"], features=features
    )
    return Finetuned(
        encoder=probe,
        weight=head["weight"],
        bias=head["bias"],
        classes=tuple(record["classes"]),
        norm=record["norm"],
        loss=LossConfig.from_json(record["loss"]),
        card=card,
    )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
