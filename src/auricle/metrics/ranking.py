"""How well scores rank positive clips before negative ones: AUC, partial AUC, d', and ranking of a clip's labels.

Through scikit-learn. `resampled_ranking.py` holds the two-class metrics under many weightings of the clips at once.

Letters in shapes: n clips, C classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import label_ranking_average_precision_score, roc_auc_score

from auricle.errors import ConfigError
from auricle.metrics.classification import Floats, area_under_roc, average_precision, validate_multi

MAX_FALSE_POSITIVES = 0.1  # of partial AUC; DCASE task 2


def validate_binary(truth: np.ndarray, scores: np.ndarray) -> tuple[NDArray[np.bool_], Floats]:
    """Check scores of two kinds of clips and return them as bool and float64.

    Args:
        truth: `(n,)` zeros and ones (or bool).
        scores: `(n,)` finite; higher means more likely one.

    Raises:
        ConfigError: shapes differ, truth is not 0 / 1, a score is not finite.
    """
    truth, scores = np.asarray(truth), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != scores.shape:
        raise ConfigError(f"truth has shape {truth.shape}, scores {scores.shape}; expected (n,) and (n,)")
    if not np.isin(truth, (0, 1)).all():
        raise ConfigError(
            "truth holds values other than 0 and 1; expected 1 for what should score high, 0 for the rest"
        )
    if not np.isfinite(scores).all():
        raise ConfigError(f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores are not finite")
    return truth.astype(bool), scores


def auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve; NaN unless there are clips of both kinds."""
    positive, scores = validate_binary(truth, scores)
    return float(roc_auc_score(positive, scores)) if positive.any() and not positive.all() else math.nan


def partial_auc(truth: np.ndarray, scores: np.ndarray, max_false_positives: float = MAX_FALSE_POSITIVES) -> float:
    """Return the area under the ROC curve up to a false-positive rate; NaN unless there are clips of both kinds.

    Standardised after McClish (1989) as in scikit-learn: chance gives 0.5, a perfect ranking 1.

    Raises:
        ConfigError: the rate does not lie within 0 (excluded) ... 1.
    """
    positive, scores = validate_binary(truth, scores)
    check_rate(max_false_positives)
    if not positive.any() or positive.all():
        return math.nan
    return float(roc_auc_score(positive, scores, max_fpr=max_false_positives))


def d_prime(truth: np.ndarray, scores: np.ndarray, *, by_class: bool = False) -> float:
    """Return d' = sqrt(2) Phi^-1(AUC), the distance of two unit normal distributions with this AUC.

    Args:
        truth: `(n, C)` zeros and ones.
        scores: `(n, C)`.
        by_class: mean of the classes' d' as in HEAR, infinite as soon as one class is ranked perfectly; else d' of the
            mean AUC.

    Returns:
        d'; infinite for perfect ranking, NaN where no class has clips of both kinds.
    """
    areas = area_under_roc(truth, scores)
    areas = areas[~np.isnan(areas)]
    if not areas.size:
        return math.nan
    return float(separation(areas).mean() if by_class else separation(areas.mean()))


def separation(area: np.ndarray | float) -> Floats:
    """Return d' of areas under the ROC curve, of any shape."""
    distance: Floats = math.sqrt(2) * np.asarray(norm.ppf(area))
    return distance


def class_mean_average_precision(truth: np.ndarray, scores: np.ndarray, least: int = 1) -> float:
    """Return cmAP: the mean average precision over classes with at least `least` positive clips; NaN if there is none.

    With `least=1` it is mAP; BirdSet and the bird challenges report it under this name.

    Raises:
        ConfigError: `least` is below 1.
    """
    if least < 1:
        raise ConfigError(f"classes with at least {least} positives; expected 1 or more")
    positive, _ = validate_multi(truth, scores)
    counted = average_precision(truth, scores)[positive.sum(0) >= least]
    return float(counted.mean()) if counted.size else math.nan


def label_weighted_ranking_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return lwlrap: the precision at the rank of each label of each clip, mean over all labels of all clips.

    Clips without labels take no part; NaN if no clip has any. The metric of DCASE 2019 task 2.
    """
    positive, scores = validate_multi(truth, scores)
    labels = positive.sum(1)
    if not labels.any():
        return math.nan
    some = labels > 0
    return float(label_ranking_average_precision_score(positive[some], scores[some], sample_weight=labels[some]))


def check_rate(rate: float) -> None:
    """Check a false-positive rate up to which a curve counts.

    Raises:
        ConfigError: it does not lie within 0 (excluded) ... 1.
    """
    if not 0 < rate <= 1:
        raise ConfigError(f"false-positive rate up to {rate}; expected more than 0, at most 1")
