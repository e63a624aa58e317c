"""Preparation of clip vectors before their cosine or distance is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from auricle.config import Config
from auricle.errors import ConfigError, CorpusError
from auricle.words import counted

Floats = NDArray[np.float64]
Prepare = Callable[[NDArray[np.float32]], Floats]


@dataclass(frozen=True)
class CosineConfig(Config):
    """Cosine similarity of prepared vectors.

    Attributes:
        prepare: `none`: as they are; `centre`: minus the mean of the known clips; `standardise`: each dimension to zero
            mean and unit deviation over them; `whiten`: decorrelated with their shrunk covariance (Ledoit and Wolf,
            2004); `lda`: projected to separate known identities (linear discriminant analysis, shrunk).
    """

    prepare: Literal["none", "centre", "standardise", "whiten", "lda"] = "none"

    @property
    def learns(self) -> bool:
        """Whether the preparation is learnt from known clips."""
        return self.prepare != "none"

    def fit(self, known: NDArray[np.float32], identities: NDArray[np.str_] | None = None) -> Prepare:
        """Learn the preparation from known clips and return it; prepared vectors have length one.

        Args:
            known: `(m, D)` vectors of the known clips; may be empty where nothing is learnt.
            identities: `(m,)` identity of each, for `lda`.

        Raises:
            CorpusError: there are too few known clips, or identities, to learn from.
            ConfigError: vectors are not finite.
        """
        learnt = self.learnt(known, identities)

        def prepare(x: NDArray[np.float32]) -> Floats:
            check_finite(x, "test")
            return unit_rows(x if learnt is None else (x.astype(np.float64) - learnt[0]) @ learnt[1])

        return prepare

    def learnt(self, known: NDArray[np.float32], identities: NDArray[np.str_] | None) -> tuple[Floats, Floats] | None:
        """Return the mean `(D,)` and the matrix `(D, d)` that the preparation learns; None: it learns nothing.

        Raises:
            CorpusError: as `fit`.
            ConfigError: as `fit`.
        """
        check_finite(known, "known")
        if self.prepare == "none":
            return None
        if len(known) < 2:
            raise CorpusError(f"{len(known)} known clips to learn {self.prepare!r} from; expected at least 2")
        x = known.astype(np.float64)
        return x.mean(0), self._change(x, identities)

    def _change(self, x: Floats, identities: NDArray[np.str_] | None) -> Floats:
        """Return the matrix `(D, d)` that centred vectors are multiplied by."""
        if self.prepare == "lda":
            return _lda(x, identities)
        if self.prepare == "whiten":
            return _root_inverse(LedoitWolf().fit(x).covariance_)
        if self.prepare == "standardise":
            std = x.std(0)
            return np.diag(np.divide(1.0, std, out=np.zeros_like(std), where=std > 1e-8 * np.abs(x).max()))
        return np.eye(x.shape[1])

    def notes(self, known: NDArray[np.float32]) -> list[str]:
        """Return a note where a covariance was learnt from fewer clips than it has dimensions."""
        if self.prepare not in ("whiten", "lda") or len(known) >= known.shape[1]:
            return []
        return [
            f"the covariance of {counted(known.shape[1], 'dimension')} rests on "
            f"{counted(len(known), 'clip')}: shrinkage dominates"
        ]


COSINES: dict[str, Config] = {
    "cosine": CosineConfig(),
    "cosine_centred": CosineConfig("centre"),
    "cosine_whitened": CosineConfig("whiten"),
}


def check_finite(x: NDArray[np.float32], which: str) -> None:
    """Refuse vectors that are not finite.

    Args:
        x: `(n, D)`.
        which: the clips they belong to, for the message.

    Raises:
        ConfigError: a vector is not finite.
    """
    bad = int((~np.isfinite(x).all(1)).sum())
    if bad:
        raise ConfigError(f"{bad} {which} embeddings are not finite; exclude these clips or fix the encoder")


def unit_rows(x: NDArray[Any]) -> Floats:
    """Return rows `(n, D)` scaled to length one; rows of zeros stay zeros."""
    x = np.asarray(x, dtype=np.float64)
    unit: Floats = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit


def _lda(x: Floats, identities: NDArray[np.str_] | None) -> Floats:
    names = np.unique(identities) if identities is not None else np.array([])
    if identities is None or len(names) < 2 or len(names) >= len(x):
        raise CorpusError(
            f"{len(x)} known clips of {len(names)} identities; linear discriminant analysis needs at least two "
            "identities with several clips each: choose another probe"
        )
    scalings: Floats = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(x, identities).scalings_
    return scalings[:, : len(names) - 1]


def _root_inverse(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = vectors @ np.diag(np.maximum(values, 1e-12 * values.max()) ** -0.5) @ vectors.T
    return root
