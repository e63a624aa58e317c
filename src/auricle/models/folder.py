"""A fitted model on disk: one folder that needs no other file.

`model.safetensors` holds the weights of the encoder and of the head, and in its metadata the record of everything else:
one file, written at once, decides. `model.json` shows the record to people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.config import Config
from auricle.encoders.callables import open_callable
from auricle.encoders.contract import Encoder
from auricle.encoders.features import OUTPUT, FeaturesConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError, ConfigError
from auricle.models import clip_heads, frame_heads, vector_heads  # noqa: F401 - they register their heads
from auricle.models.heads import Head
from auricle.models.older import OLD_FILE, read_older
from auricle.storage import disk_errors, write_atomic
from auricle.tensor_files import read_metadata, read_tensor_file, tensor_bytes
from auricle.training.checkpoint import load_tensors

FILE, CARD, HEAD = "model.safetensors", "model.json", "head.safetensors"
_FORMAT, _MARK, _SUM = 1, "auricle.model", "auricle.sum"


@dataclass(frozen=True)
class Saved:
    """A model that was read from its folder: encoder, head, and the facts about it (`card`)."""

    encoder: FrozenEncoder
    head: Head
    card: dict[str, Any]


def check_savable(frozen: FrozenEncoder) -> None:
    """Refuse an encoder that could not be opened again, before anything is trained.

    Raises:
        ConfigError: it carries no settings to rebuild it from, and is no `module:Class`.
    """
    settings = getattr(frozen.encoder, "config", None)
    if not (isinstance(settings, Config) and hasattr(settings, "build")) and not _importable(frozen):
        raise ConfigError(
            f"{frozen.name} carries no settings to rebuild it from, so it can't be saved; name it as module:Class, or "
            "set --no-save (Python: save=False)"
        )


def save_model(
    folder: Path | str,
    frozen: FrozenEncoder,
    head: Head,
    *,
    card: Mapping[str, Any],
    encoder: Encoder | None = None,
    name: str | None = None,
    notes: tuple[str, ...] = (),
) -> Path:
    """Write a fitted model, in place of the one that the folder holds.

    Args:
        folder: to write.
        frozen: the encoder that the head reads.
        head: the fitted head.
        card: task, corpus, expected performance and whatever else is known of it, JSON-ready.
        encoder: the fine-tuned encoder, low-rank updates merged into its weights; None: that of `frozen`.
        name: of the model's encoder, for tables; None: that of `frozen`.
        notes: remarks on the encoder, after its own.

    Raises:
        ConfigError: the encoder carries no settings to rebuild it from.
        StorageError: the disk is full, or the folder can't be written.
    """
    check_savable(frozen)
    settings: Any = getattr(frozen.encoder, "config", None)
    named = not hasattr(settings, "build")
    record = {
        "format": _FORMAT,
        "auricle": version("auricle"),
        "name": frozen.name if name is None else name,
        "notes": [*frozen.notes, *notes],
        "from": frozen.fingerprint,
        "weights": frozen.weights if encoder is None else None,
        "opens": frozen.name if named else None,
        "encoder": None if named else settings.to_json(),
        "frontend": frozen.frontend.config.to_json(),
        "precision": frozen.precision,
        "features": frozen.features.to_json(),
        "head": head.to_json(),
        "card": dict(card),
    }
    held: dict[str, Tensor] = {} if named else dict((encoder or frozen.encoder).state_dict())
    tensors = {f"encoder.{key}": t for key, t in held.items()} | {f"head.{k}": t for k, t in head.tensors().items()}
    text = json.dumps(record, ensure_ascii=False)
    metadata = {_MARK: text, _SUM: checksum(text, tensors)}
    folder, data = Path(folder), tensor_bytes(tensors, metadata)
    # The card of the former model must not outlive it: a folder without one opens.
    with disk_errors(folder):
        (folder / CARD).unlink(missing_ok=True)
    write_atomic(folder / FILE, data)
    write_atomic(folder / CARD, (json.dumps(_readable(record), indent=2, ensure_ascii=False) + "\n").encode())
    (folder / OLD_FILE).unlink(missing_ok=True)
    return folder


def save_head(folder: Path, head: Head) -> Path:
    """Write a head without its encoder, as `auricle probe --keep-heads` keeps it; return the file.

    Raises:
        StorageError: the disk is full, or the folder can't be written.
    """
    text, tensors = json.dumps({"format": _FORMAT, "head": head.to_json()}, ensure_ascii=False), head.tensors()
    write_atomic(folder / HEAD, tensor_bytes(tensors, {_MARK: text, _SUM: checksum(text, tensors)}))
    return folder / HEAD


def load_head(path: Path | str) -> Head:
    """Open a head that `auricle probe --keep-heads` kept; `Model.with_head` puts it on its encoder.

    Args:
        path: its folder, or the `head.safetensors` in it.

    Raises:
        CheckpointError: there is none, or it is damaged or was changed.
    """
    file = Path(path) / HEAD if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise CheckpointError(f"no head at {path}; expected a folder that `auricle probe --keep-heads` wrote")
    tensors, metadata = read_tensor_file(file, "probe again")
    try:
        record = json.loads(metadata[_MARK])
        _check(file, record, metadata, tensors)
        return Head.from_json(record["head"], tensors)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"the record in {file} is damaged ({error!r}); probe again") from error


def read_card(folder: Path) -> dict[str, Any] | None:
    """Return the card of a saved model without its weights, or None if there is none (or a damaged one)."""
    try:
        return dict(json.loads(read_metadata(folder / FILE)[_MARK])["card"])
    except (KeyError, ValueError, TypeError):
        return None


def open_folder(path: Path | str, *, trust_remote_code: bool = False) -> Saved:
    """Open a fitted model.

    Args:
        path: its folder, or the `model.safetensors` in it; also what `auricle finetune` of earlier versions wrote.
        trust_remote_code: import the `module:Class` that the folder names where the encoder is one.

    Raises:
        ConfigError: the folder names one, which is not trusted.
        CheckpointError: there is none, it is damaged or was changed, or another version of auricle wrote it.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if path.is_dir() and not file.is_file() and (path / OLD_FILE).is_file():
        file = path / OLD_FILE
    if not file.is_file():
        beside = f", only its {CARD}: copy the whole folder" if (file.parent / CARD).is_file() else ""
        raise CheckpointError(
            f"no fitted model at {path}{beside}; expected the folder that `auricle fit` or `auricle finetune` wrote"
        )
    tensors, metadata = read_tensor_file(file, "fit the model again")
    try:
        if _MARK not in metadata:
            record, tensors = read_older(file, metadata, tensors)
        else:
            record = json.loads(metadata[_MARK])
            _check(file, record, metadata, tensors)
        return _rebuilt(file, record, tensors, trust_remote_code)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"the record in {file} is damaged ({error!r}); fit the model again") from error


def _check(file: Path, record: Any, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    if record["format"] != _FORMAT:
        raise CheckpointError(
            f"{file} has format {record['format']}, this auricle reads {_FORMAT}; fit the model again, or install "
            f"the version that wrote it ({record.get('auricle', 'unknown')})"
        )
    if metadata.get(_SUM) != checksum(metadata[_MARK], tensors):
        raise CheckpointError(f"{file} was changed after it was written; fit the model again, or copy it again")
    card = file.parent / CARD
    if file.name == FILE and card.is_file():
        try:
            same = json.loads(card.read_text(encoding="utf-8")) == json.loads(json.dumps(_readable(record)))
        except (OSError, ValueError):
            same = False
        if not same:
            raise CheckpointError(
                f"{card} is not what was written with {FILE}, which decides; delete {CARD} to open the model as it "
                "was fitted"
            )


def _rebuilt(file: Path, record: dict[str, Any], tensors: dict[str, Tensor], trust: bool) -> Saved:
    try:
        settings: Any = None if record["encoder"] is None else Config.from_json(record["encoder"])
        frontend = FrontEndConfig.from_json(record["frontend"]).build()
        features = FeaturesConfig.from_json(record["features"]) if "features" in record else OUTPUT
    except ConfigError as error:
        raise CheckpointError(
            f"the settings in {file} can't be read: {error}; they are of another version of auricle, or use a plug-in: "
            "import its module first (auricle --plugin MODULE ...)"
        ) from error
    if settings is None:
        if not trust:
            raise ConfigError(
                f"the model in {file.parent} runs Python code that its folder names, {record['opens']}; set "
                "--trust-remote-code (Python: trust_remote_code=True) if you trust whoever wrote both"
            )
        frozen: FrozenEncoder = open_callable(record["opens"]).reading(features)
        if frozen.weights != record["weights"]:
            raise CheckpointError(
                f"{record['opens']} is another encoder than the one that the head in {file} was fitted on: its output "
                "differs; restore its weights, or fit the model again"
            )
    else:
        plain = settings.fresh() if hasattr(settings, "fresh") else settings
        encoder: Encoder = plain.build(torch.Generator().manual_seed(0))
        load_tensors(encoder, _part(tensors, "encoder."), str(file))
        frozen = FrozenEncoder(
            frontend,
            encoder,
            name=record["name"],
            fingerprint=record["weights"],
            notes=record["notes"],
            precision=record["precision"],
            features=features,
        )
    return Saved(frozen, Head.from_json(record["head"], _part(tensors, "head.")), dict(record["card"]))


def _readable(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record as people read it: what the model is for and how good it is comes first."""
    head = {name: value for name, value in record["head"].items() if name not in ("own", "calibration")}
    head["calibration"] = record["head"]["calibration"].get("method")
    return {"card": record["card"], "head": head, **{k: v for k, v in record.items() if k not in ("card", "head")}}


def _importable(frozen: FrozenEncoder) -> bool:
    module, colon, name = frozen.name.partition(":")
    return bool(colon and name.isidentifier() and module.replace(".", "_").isidentifier())


def checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits of SHA-256 over a record and the tensors that are written with it."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
