"""Readers that compare clip vectors: how vectors are prepared before their cosine or distance is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from auricle.config import Config
from auricle.errors import ConfigError, CorpusError

Vectors = NDArray[np.float64]
Prepare = Callable[[NDArray[np.float32]], Vectors]


@dataclass(frozen=True)
class CosineConfig(Config):
    """Cosine similarity of prepared vectors.

    Attributes:
        prepare: `none`: as they are; `centre`: minus the mean of the known clips; `standardise`: each dimension to zero
            mean and unit deviation over them; `whiten`: decorrelated with their shrunk covariance (Ledoit and Wolf,
            2004); `lda`: projected where known identities lie apart (linear discriminant analysis, shrunk).
    """

    prepare: Literal["none", "centre", "standardise", "whiten", "lda"] = "none"

    @property
    def learns(self) -> bool:
        """Whether it needs known clips."""
        return self.prepare != "none"

    def fit(self, known: NDArray[np.float32], identities: NDArray[np.str_] | None = None) -> Prepare:
        """Learn the preparation from known clips and return it; results have length one.

        Args:
            known: `(m, D)` vectors of the known clips; may be empty where nothing is learnt.
            identities: `(m,)` whose they are, for `lda`.

        Raises:
            CorpusError: there are too few known clips, or identities, to learn from.
            ConfigError: vectors are not finite.
        """
        check_finite(known, "known")
        if self.prepare == "none":
            return lambda x: _unit(check_finite(x, "test"))
        if len(known) < 2:
            raise CorpusError(f"{len(known)} known clips to learn {self.prepare!r} from; expected at least 2")
        x = known.astype(np.float64)
        mean = x.mean(0)
        if self.prepare == "lda":
            return self._lda(x, identities)
        if self.prepare == "whiten":
            change = _root_inverse(LedoitWolf().fit(x).covariance_)
        elif self.prepare == "standardise":
            std = x.std(0)
            change = np.diag(np.divide(1.0, std, out=np.zeros_like(std), where=std > 1e-8 * np.abs(x).max()))
        else:
            change = np.eye(x.shape[1])
        return lambda asked: _unit((check_finite(asked, "test") - mean) @ change)

    def _lda(self, x: Vectors, identities: NDArray[np.str_] | None) -> Prepare:
        names = np.unique(identities) if identities is not None else np.array([])
        if identities is None or len(names) < 2 or len(names) >= len(x):
            raise CorpusError(
                f"{len(x)} known clips of {len(names)} identities; linear discriminant analysis needs at least two "
                "identities with several clips each: choose another reader"
            )
        model = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(x, identities)
        mean, change = x.mean(0), model.scalings_[:, : len(names) - 1]
        return lambda asked: _unit((check_finite(asked, "test") - mean) @ change)


COSINES: dict[str, Config] = {
    "cosine": CosineConfig(),
    "cosine_centred": CosineConfig("centre"),
    "cosine_whitened": CosineConfig("whiten"),
}


def few_notes(probe: CosineConfig, known: NDArray[np.float32]) -> list[str]:
    """Say so where a covariance was learnt from fewer clips than it has dimensions."""
    if probe.prepare not in ("whiten", "lda") or len(known) >= known.shape[1]:
        return []
    return [
        f"the covariance of {known.shape[1]} dimensions was learnt from {len(known)} clips only: shrinkage decides much"
    ]


def check_finite(x: NDArray[np.float32], which: str) -> Vectors:
    """Return vectors as float64.

    Raises:
        ConfigError: one is not finite.
    """
    bad = int((~np.isfinite(x).all(1)).sum())
    if bad:
        raise ConfigError(f"{bad} {which} embeddings are not finite; leave these clips out or mend the encoder")
    return np.asarray(x, dtype=np.float64)


def _root_inverse(covariance: Vectors) -> Vectors:
    values, vectors = np.linalg.eigh(covariance)
    root: Vectors = vectors @ np.diag(np.maximum(values, 1e-12 * values.max()) ** -0.5) @ vectors.T
    return root


def _unit(x: Vectors) -> Vectors:
    unit: Vectors = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit
