"""Calibration of a head's scores on clips that it was not fitted on: temperature or isotonic, by their log loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from auricle.models.calibration import Calibration, Method

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]
_LEAST = 1e-7
# Fewer positive or negative clips of a class than this make few steps of an isotonic line: scores that differ become
# equal, and their order is lost.
_STEPS = 100
_BINS = 10
# Prior deviations 0.5 of the logarithm of the scale and 1 of the shift: a few clips that are all right must not make
# every score certain.
_PULL_SCALE, _PULL_SHIFT = 2.0, 0.5


def calibrate(
    scores: NDArray[np.floating], truth: Truth, groups: NDArray[np.str_], *, single: bool, seed: int = 0
) -> tuple[Calibration, dict[str, Any]]:
    """Fit the calibration whose log loss is the lowest on clips of other sources.

    Each candidate is fitted to one half of the sources and measured on the other, and the other way round; then the
    best is fitted to all clips.

    Args:
        scores: `(n, C)` scores of clips that the head was not fitted on.
        truth: `(n, C)` labels.
        groups: `(n,)` source of each clip.
        single: one label a clip.
        seed: of the halves.

    Returns:
        The calibration, and the log loss of each candidate with the reason of the choice, JSON-ready.
    """
    candidates: tuple[Method, ...] = ("none", "temperature", "isotonic")
    names = np.unique(groups)
    if len(names) < 2 or not truth.any() or (not single and truth.all()):
        return Calibration(), {"method": "none", "why": "clips of one source, or of one kind, can't calibrate"}
    least = min(np.minimum(truth.sum(0), (~truth).sum(0)))
    if least < _STEPS:
        candidates = candidates[:2]
    half = np.isin(groups, np.random.default_rng(seed).permutation(names)[: len(names) // 2])
    losses = {}
    for method in candidates:
        found = np.empty(scores.shape)
        for side in (half, ~half):
            found[~side] = applied(fit_calibration(method, scores[side], truth[side], single), scores[~side], single)
        losses[method] = log_loss(found, truth, single)
    best = min(candidates, key=lambda method: losses[method])
    facts: dict[str, Any] = {"method": best, "clips": len(scores), "sources": len(names), "log_loss": losses}
    facts["why"] = "the lowest log loss on clips of the other half of the sources"
    if least < _STEPS:
        facts["why"] += f"; isotonic was not tried: a class has {least} of at least {_STEPS} clips"
    return fit_calibration(best, scores, truth, single), facts


def fit_calibration(method: Method, scores: NDArray[np.floating], truth: Truth, single: bool) -> Calibration:
    """Fit one kind of calibration to scores `(n, C)` and labels `(n, C)`."""
    if method == "none":
        return Calibration()
    if method == "isotonic":
        return Calibration("isotonic", knots=tuple(_line(scores[:, c], truth[:, c]) for c in range(truth.shape[1])))
    held = np.clip(np.asarray(scores, dtype=np.float64), _LEAST, 1 - _LEAST)
    if single:
        logits = np.log(held)

        def loss(x: Floats) -> float:
            return _of_softmax(np.exp(x[0]) * logits, truth) + _PULL_SCALE / len(truth) * float(x[0] ** 2)

        return Calibration("temperature", scale=(float(np.exp(minimize(loss, [0.0], method="L-BFGS-B").x[0])),))
    pairs = [_scaled(np.log(held[:, c] / (1 - held[:, c])), truth[:, c]) for c in range(truth.shape[1])]
    return Calibration("temperature", tuple(scale for scale, _ in pairs), tuple(shift for _, shift in pairs))


def applied(calibration: Calibration, scores: NDArray[np.floating], single: bool) -> Floats:
    """Return calibrated scores `(n, C)` in float64."""
    return calibration.apply(torch.from_numpy(np.asarray(scores, dtype=np.float64)), single).numpy()


def log_loss(scores: NDArray[np.floating], truth: Truth, single: bool) -> float:
    """Return the mean log loss of probabilities `(n, C)`: of the true class, or over clips and classes."""
    held = np.clip(np.asarray(scores, dtype=np.float64), _LEAST, 1 - _LEAST)
    if single:
        return float(-np.log(held[truth]).mean())
    return float(-np.where(truth, np.log(held), np.log1p(-held)).mean())


def reliability(scores: NDArray[np.floating], truth: Truth, single: bool) -> dict[str, Any]:
    """Return how far probabilities `(n, C)` are from shares: expected calibration error, Brier score, log loss, bins.

    Of one label a clip the probability of the predicted class is compared with the share of right predictions; of
    several, each class's probability with its share of clips. Ten bins of equal width, weighted by their numbers.

    Examples:
        >>> sure = np.array([[0.9, 0.1]] * 10)
        >>> right = np.array([[True, False]] * 9 + [[False, True]])
        >>> abs(round(reliability(sure, right, True)["ece"], 3))
        0.0
    """
    if single:
        said, right = scores.max(1), truth[np.arange(len(truth)), scores.argmax(1)]
        brier = float(((scores - truth) ** 2).sum(1).mean())
    else:
        said, right = scores.ravel(), truth.ravel()
        brier = float(((scores - truth) ** 2).mean())
    place = np.minimum((np.asarray(said, dtype=np.float64) * _BINS).astype(int), _BINS - 1)
    bins = [
        {
            "said": float(said[place == b].mean()),
            "true": float(right[place == b].mean()),
            "count": int((place == b).sum()),
        }
        for b in np.unique(place)
    ]
    ece = sum(b["count"] * abs(b["said"] - b["true"]) for b in bins) / len(said)
    return {"ece": float(ece), "brier": brier, "log_loss": log_loss(scores, truth, single), "bins": bins}


def _line(scores: NDArray[np.floating], truth: Truth) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the knots of one class: rising, and away from 0 and 1 by what its number of clips can say."""
    if not truth.any() or truth.all():
        return (), ()
    least = 1 / (len(truth) + 2)
    model = IsotonicRegression(y_min=least, y_max=1 - least).fit(
        np.asarray(scores, dtype=np.float64), truth.astype(float)
    )
    return tuple(map(float, model.X_thresholds_)), tuple(map(float, model.y_thresholds_))


def _scaled(logits: Floats, truth: Truth) -> tuple[float, float]:
    """Return scale and shift of one class's logits, as Platt fits them."""
    if not truth.any() or truth.all():
        return 1.0, 0.0
    # Platt's targets: a class of few clips is never certain.
    high, low = (truth.sum() + 1) / (truth.sum() + 2), 1 / ((~truth).sum() + 2)
    target, pull = np.where(truth, high, low), np.array([_PULL_SCALE, _PULL_SHIFT]) / len(truth)

    def loss(x: Floats) -> tuple[float, Floats]:
        z = np.exp(x[0]) * logits + x[1]
        p = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
        value = float((np.logaddexp(0, z) - target * z).mean() + (pull * x**2).sum())
        slope = (p - target) / len(truth)
        return value, np.array([(slope * logits).sum() * np.exp(x[0]), slope.sum()]) + 2 * pull * x

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), float(found[1])


def _of_softmax(logits: Floats, truth: Truth) -> float:
    top = logits.max(1, keepdims=True)
    total = top[:, 0] + np.log(np.exp(logits - top).sum(1))
    return float((total - logits[truth]).mean())
