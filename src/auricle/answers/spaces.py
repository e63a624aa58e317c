"""The space of a library's vectors: the encoder's own, or the one that it shares with texts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from auricle.encoders.features import FeaturesConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError, ConfigError
from auricle.evaluation.audio_text.model import AudioText, open_audio_text
from auricle.models.opening import Model, load

Kind = Literal["encoder", "text"]


@dataclass(frozen=True)
class Space:
    """A model whose vectors can be compared with those of a library.

    Attributes:
        encoder: makes the clip vectors.
        towers: place them, and texts, in a shared space; None: clip vectors stay as they are.
    """

    encoder: FrozenEncoder
    towers: AudioText | None = None

    @property
    def name(self) -> str:
        """Name of the model, for messages."""
        return self.encoder.name

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of all that decides a vector."""
        own = self.encoder.fingerprint
        if self.towers is None:
            return own
        return hashlib.sha256(f"{own} {self.towers.fingerprint}".encode()).hexdigest()[:16]

    @property
    def facts(self) -> dict[str, Any]:
        """What the record of a library says of the model."""
        width = len(self.place(np.ones((1, self.encoder.pooled_width), np.float32))[0])
        kind: Kind = "encoder" if self.towers is None else "text"
        about = {"precision": self.encoder.precision, "features": self.encoder.features.to_json()}
        return {
            "name": self.name, "fingerprint": self.fingerprint, "space": kind, "rate": self.encoder.rate,
            "width": width, **about,
        }  # fmt: skip

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Return clip vectors `(n, D')` in the space `(n, D)`, float32."""
        return vectors if self.towers is None else self.towers.place(vectors).astype(np.float32)

    def wave(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """Return the vector `(D,)` of a sound `(S,)`.

        Raises:
            AudioError: it is no sound, or too short for the encoder.
        """
        return self.place(self.encoder.embed(wave, rate)[None])[0]


def open_space(
    model: str | Path | Model,
    kind: Kind,
    *,
    device: str = "auto",
    precision: str = "fp32",
    trust_remote_code: bool = False,
    features: str | FeaturesConfig = "recipe",
) -> Space:
    """Open a model for the vectors of a library; `load` explains the arguments.

    Raises:
        CheckpointError: there is no such model, or it has no text tower and `kind` is `text`.
        ConfigError: `kind` is unknown, or there is no such device.
    """
    if kind not in ("encoder", "text"):
        raise ConfigError(f"space is {kind!r}; expected encoder or text")
    if kind == "text":
        run = (model.run or model.folder) if isinstance(model, Model) else model
        if not Path(run).exists():
            raise CheckpointError(
                f"{run} has no text tower: it is no run folder; expected a run of audio and text (recipe clap), or "
                "leave --space text out"
            )
        towers = open_audio_text(run, device=device, precision=precision)  # type: ignore[arg-type]
        return Space(towers.encoder, towers)
    if not isinstance(model, Model):
        model = load(model, device=device, precision=precision, trust_remote_code=trust_remote_code, features=features)
    return Space(model.encoder)
