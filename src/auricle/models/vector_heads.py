"""Heads of clip vectors that compare: anomalies with normal clips, clips with enrolled identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.models.heads import Head
from auricle.probes.normal import AnomalyScore, NormalModelConfig
from auricle.tokens.token_set import TokenSet


@dataclass(frozen=True, kw_only=True)
class AnomalyHead(Head):
    """A model of normal clips for each class: a machine, a device, or one for all.

    Scores are higher for anomalies; a score at or above the class's threshold is one.

    Attributes:
        model: how far a clip is from the normal ones.
        normal: `(m, D')` vectors of the normal clips.
        domain: the class `(m,)` of each.
        names: of the normal clips, `(m,)`: the reason of a score names the nearest.
        on: fingerprint of the encoder that made the vectors.
    """

    form: ClassVar[str] = "normal"
    model: NormalModelConfig
    normal: Tensor = field(repr=False)
    domain: tuple[int, ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    on: str

    @property
    def reads(self) -> str:
        return self.on

    def _of(self, c: int) -> NDArray[np.int64]:
        return np.flatnonzero(np.asarray(self.domain) == c)

    @cached_property
    def _models(self) -> list[AnomalyScore]:
        vectors = self.normal.numpy()
        return [self.model.fit(vectors[self._of(c)]) for c in range(len(self.classes))]

    def of_tokens(self, tokens: TokenSet) -> Tensor:
        return self.of_vectors(tokens.pooled.astype(np.float32))

    def of_vectors(self, x: NDArray[np.float32]) -> Tensor:
        """Return scores `(n, C)` of clip vectors `(n, D')`, by the model of each class."""
        return torch.from_numpy(np.stack([score(x) for score in self._models], 1).astype(np.float32))

    def nearest(self, frozen: FrozenEncoder, audio: Audio) -> list[tuple[str, float]]:
        with torch.no_grad():
            x = frozen.pooled(audio).float().cpu().numpy()
        found = [self.neighbours(x, name) for name in self.classes]
        return [min((one[0] for one in options), key=lambda near: near[1]) for options in zip(*found, strict=True)]

    def neighbours(self, x: NDArray[np.float32], name: str, k: int = 1) -> list[list[tuple[str, float]]]:
        """Return for each clip vector `(n, D')` the nearest normal clips of a class, with their cosine distances.

        Raises:
            ConfigError: there is no such class.
        """
        if name not in self.classes:
            raise ConfigError(f"the model has no normal clips of {name!r}; expected one of {', '.join(self.classes)}")
        rows = self._of(self.classes.index(name))
        index = NearestNeighbors(n_neighbors=min(k, len(rows)), metric="cosine").fit(self.normal.numpy()[rows])
        distances, places = index.kneighbors(x)
        return [
            [(self.names[rows[p]], float(d)) for d, p in zip(one, where, strict=True)]
            for one, where in zip(distances, places, strict=True)
        ]

    def explained(self, x: NDArray[np.float32], names: Sequence[str]) -> list[dict[str, Any]]:
        """Return for each clip vector `(n, D')` its score by its class, the threshold, and the nearest normal clip.

        Args:
            x: clip vectors.
            names: class of each clip.

        Raises:
            ConfigError: there is no such class.
        """
        scores = self.of_vectors(x).numpy()
        rows = []
        for place, name in enumerate(names):
            ((clip, distance),) = self.neighbours(x[place : place + 1], name)[0]
            c = self.classes.index(name)
            score, threshold = float(scores[place, c]), self.thresholds[c] if self.thresholds else None
            row: dict[str, Any] = {"score": score, "threshold": threshold}
            row["anomalous"] = None if threshold is None else score >= threshold
            rows.append({**row, "nearest": clip, "nearest_distance": distance})
        return rows

    def record(self) -> dict[str, Any]:
        held = {"model": self.model.to_json(), "domain": list(self.domain), "names": list(self.names)}
        return {**held, "on": self.on}

    def tensors(self) -> dict[str, Tensor]:
        return {"normal": self.normal}

    @classmethod
    def rebuilt(cls, common: dict[str, Any], record: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        model, normal = NormalModelConfig.from_json(record["model"]), tensors["normal"]
        domain, names = tuple(record["domain"]), tuple(record["names"])
        if not len(normal) == len(domain) == len(names) or set(domain) != set(range(len(common["classes"]))):
            raise ValueError(f"{len(normal)} normal clips of {len(names)} names and {len(domain)} classes")
        return cls(**common, model=model, normal=normal, domain=domain, names=names, on=record["on"])


@dataclass(frozen=True, kw_only=True)
class VerificationHead(Head):
    """The cosine of prepared clip vectors with enrolled identities, which are its classes.

    Attributes:
        mean: `(D',)` subtracted from the vectors first; None: nothing is learnt.
        change: `(D', d)` that they are then multiplied by.
        enrolled: `(C, d)` mean prepared vector of each identity, of length one.
        accept: cosine at or above which two clips are taken for the same identity; None: none was chosen.
        on: fingerprint of the encoder that made the vectors.
    """

    form: ClassVar[str] = "cosine"
    mean: Tensor | None = field(default=None, repr=False)
    change: Tensor | None = field(default=None, repr=False)
    enrolled: Tensor | None = field(default=None, repr=False)
    accept: float | None = None
    on: str

    @property
    def reads(self) -> str:
        return self.on

    def prepared(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return clip vectors `(n, D')` prepared, `(n, d)` of length one."""
        if self.mean is None or self.change is None:
            made = x.astype(np.float64)
        else:
            made = (x.astype(np.float64) - self.mean.numpy()) @ self.change.numpy()
        unit: NDArray[np.float64] = made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
        return unit

    def similarity(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the cosine `(n,)` of prepared clip vectors, pair by pair."""
        found: NDArray[np.float64] = (self.prepared(first) * self.prepared(second)).sum(1)
        return found

    def enrol(self, name: str, x: NDArray[np.float32]) -> Self:
        """Return the head with an identity more, known by clip vectors `(n, D')`; one of this name is replaced."""
        mean = self.prepared(x).mean(0, keepdims=True)
        vector = torch.from_numpy(mean / max(float(np.linalg.norm(mean)), 1e-12))
        kept = [c for c, own in enumerate(self.classes) if own != name]
        names = (*(self.classes[c] for c in kept), name)
        enrolled = vector if self.enrolled is None else torch.cat([self.enrolled[kept], vector])
        thresholds = () if self.accept is None else (self.accept,) * len(names)
        return replace(self, classes=names, enrolled=enrolled, thresholds=thresholds)

    def of_tokens(self, tokens: TokenSet) -> Tensor:
        if self.enrolled is None:
            raise ConfigError("the model has no enrolled identity to compare with; call `enrol` first")
        return torch.from_numpy(self.prepared(tokens.pooled.astype(np.float32)) @ self.enrolled.numpy().T).float()

    def record(self) -> dict[str, Any]:
        return {"accept": self.accept, "on": self.on}

    def tensors(self) -> dict[str, Tensor]:
        held = {"mean": self.mean, "change": self.change, "enrolled": self.enrolled}
        return {name: tensor for name, tensor in held.items() if tensor is not None}

    @classmethod
    def rebuilt(cls, common: dict[str, Any], record: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        accept = None if record["accept"] is None else float(record["accept"])
        held: dict[str, Any] = {name: tensors.get(name) for name in ("mean", "change", "enrolled")}
        return cls(**common, **held, accept=accept, on=record["on"])
