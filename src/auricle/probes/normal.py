"""Models of normal clips: how far a clip vector is from those that are known to be normal."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from auricle.config import Config, Count
from auricle.errors import ConfigError

AnomalyScore = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True)
class NormalModelConfig(Config):
    """Base of models of normal clips."""

    @abstractmethod
    def fit(self, normal: NDArray[np.float32]) -> AnomalyScore:
        """Fit normal vectors `(m, D)`; return a function from `(n, D)` to scores `(n,)`, higher for anomalies."""


@dataclass(frozen=True)
class NearestNormalConfig(NormalModelConfig):
    """Mean cosine distance to the nearest normal clips.

    Attributes:
        k: number of neighbours; fewer where there are fewer clips.
    """

    k: Count = 2

    def fit(self, normal: NDArray[np.float32]) -> AnomalyScore:
        index = NearestNeighbors(n_neighbors=min(self.k, len(normal)), metric="cosine").fit(normal)
        return lambda x: np.asarray(index.kneighbors(x)[0].mean(1), dtype=np.float64)


@dataclass(frozen=True)
class GaussianNormalConfig(NormalModelConfig):
    """Mahalanobis distance from the normal clips' mean, covariance shrunk by Ledoit and Wolf (2004)."""

    def fit(self, normal: NDArray[np.float32]) -> AnomalyScore:
        scale = normal.std(0)
        kept = scale > 1e-8 * np.abs(normal).max()
        if not kept.any():
            raise ConfigError("all normal embeddings are equal; no density can be fitted")

        def standard(x: NDArray[np.float32]) -> NDArray[np.float64]:
            return ((x[:, kept] - normal[:, kept].mean(0)) / scale[kept]).astype(np.float64)

        model = LedoitWolf().fit(standard(normal))
        return lambda x: np.sqrt(np.maximum(np.asarray(model.mahalanobis(standard(x)), dtype=np.float64), 0))
