"""Fine-tuned models of earlier versions: `finetuned.safetensors`, as records of today's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from auricle.errors import CheckpointError
from auricle.probes.losses import LossConfig

OLD_FILE = "finetuned.safetensors"
_FORMAT, _MARK = 1, "auricle.finetuned"


def read_older(
    file: Path, metadata: Mapping[str, str], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return record and tensors as `auricle.models.folder` writes them today.

    Args:
        file: for messages.
        metadata: of the file.
        tensors: of the file.

    Raises:
        CheckpointError: the file is of another program or of another version.
    """
    if _MARK not in metadata:
        raise CheckpointError(
            f"{file} holds no fitted model of auricle; expected a file of `auricle fit` or `auricle finetune`"
        )
    record = json.loads(metadata[_MARK])
    if record["format"] != _FORMAT:
        raise CheckpointError(f"{file} has format {record['format']}, this auricle reads {_FORMAT}; fine-tune again")
    card, loss = record["card"], LossConfig.from_json(record["loss"])
    head = {
        "form": "linear",
        "kind": "clips",
        "classes": record["classes"],
        "single": loss.single,
        "thresholds": [],
        "segment": None,
        "calibration": {"method": "none"},
        "unseen": [],
        "details": {},
        "own": {"norm": record["norm"], "unit": False, "loss": loss.to_json()},
    }
    note = f"fine-tuned ({card.get('mode', '')}) with the labels of {card.get('corpus', 'a corpus')}"
    today = {
        **{name: record[name] for name in ("encoder", "frontend", "precision", "card")},
        **({"features": record["features"]} if "features" in record else {}),
        "name": tuned_name(record["name"], card),
        "notes": [*record["notes"], note],
        "weights": None,
        "head": head,
    }
    return today, tensors


def tuned_name(name: str, card: Mapping[str, Any]) -> str:
    """Return the name of an encoder after fine-tuning, for tables."""
    return f"{name}, fine-tuned on {card.get('task', 'labelled clips')}"
