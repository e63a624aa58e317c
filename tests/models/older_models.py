"""Fine-tuned models as earlier versions wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from auricle.encoders.frozen import FrozenEncoder
from auricle.models.clip_heads import LinearHead
from auricle.models.folder import save_model
from auricle.probes import get_loss


def write_older(folder: Path, frozen: FrozenEncoder, head: torch.nn.Linear, classes: tuple[str, ...]) -> Path:
    """Write `finetuned.safetensors` with a layer-normed linear classifier."""
    settings: Any = frozen.encoder.config
    record = {
        "format": 1,
        "name": frozen.name,
        "from": frozen.fingerprint,
        "notes": [],
        "encoder": settings.to_json(),
        "frontend": frozen.frontend.config.to_json(),
        "precision": "fp32",
        "features": frozen.features.to_json(),
        "classes": list(classes),
        "norm": True,
        "loss": get_loss("ce").to_json(),
        "card": {"task": "toys", "corpus": "toy box", "mode": "full"},
    }
    tensors = {f"encoder.{name}": t for name, t in frozen.encoder.state_dict().items()}
    tensors |= {f"head.{name}": t.detach().clone() for name, t in head.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "finetuned.safetensors"
    file.write_bytes(safetensors.torch.save(tensors, {"auricle.finetuned": json.dumps(record)}))
    return file


def linear_head(frozen: FrozenEncoder, classes: tuple[str, ...], linear: torch.nn.Linear | None = None) -> LinearHead:
    """Return a layer-normed linear classifier as fine-tuning makes it."""
    linear = linear or torch.nn.Linear(frozen.pooled_width, len(classes))
    weight, bias = linear.weight.detach(), linear.bias.detach()
    return LinearHead(
        kind="clips", classes=classes, single=True, weight=weight, bias=bias, norm=True, loss=get_loss("ce")
    )


def save_linear(
    folder: Path, frozen: FrozenEncoder, classes: tuple[str, ...], card: dict[str, Any] | None = None
) -> Path:
    """Save a model with such a head; return its folder."""
    return save_model(folder, frozen, linear_head(frozen, classes), card=card or {"task": "toys"})
