from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from auricle.errors import ConfigError
from auricle.metrics.regression import (
    chroma_accuracy,
    concordance,
    mean_error,
    pearson,
    pitch_accuracy,
    pitch_hits,
    r2,
    root_mean_square_error,
    spearman,
)
from auricle.metrics.weights import unit_mean

MEASURES = {
    "r2": r2,
    "pearson": pearson,
    "spearman": spearman,
    "concordance": concordance,
    "mae": mean_error,
    "rmse": root_mean_square_error,
}


def test_by_hand() -> None:
    truth, said = np.array([1.0, 2.0, 3.0, 6.0]), np.array([2.0, 2.0, 1.0, 7.0])
    # Errors 1, 0, -2, 1; mean of the truth 3, squares around it 4 + 1 + 0 + 9.
    assert mean_error(truth, said) == 1.0
    assert root_mean_square_error(truth, said) == pytest.approx(math.sqrt(6 / 4))
    assert r2(truth, said) == pytest.approx(1 - 6 / 14)
    # Ranks 1, 2, 3, 4 and 2.5, 2.5, 1, 4: sum of products of deviations 1.5, squares 5 and 4.5.
    assert spearman(truth, said) == pytest.approx(1.5 / math.sqrt(5 * 4.5))
    # Deviations -2, -1, 0, 3 and -1, -1, -2, 4: products 2 + 1 + 0 + 12, squares 14 and 22; both means are 3.
    assert pearson(truth, said) == pytest.approx(15 / math.sqrt(14 * 22))
    assert concordance(truth, said) == pytest.approx(2 * 15 / (14 + 22))
    assert concordance(truth, truth + 1) == pytest.approx(2 * 14 / (14 + 14 + 4 * 1))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (r2, "r2_score"),
        (pearson, "pearson_corrcoef"),
        (spearman, "spearman_corrcoef"),
        (concordance, "concordance_corrcoef"),
        (mean_error, "mean_absolute_error"),
    ],
)
def test_against_torchmetrics(ours, theirs: str) -> None:  # type: ignore[no-untyped-def]
    functional = pytest.importorskip("torchmetrics.functional.regression")
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    truth = generator.normal(60, 10, 200)
    said = truth * 0.7 + generator.normal(20, 4, 200)
    expected = float(getattr(functional, theirs)(torch.tensor(said), torch.tensor(truth)))
    # torchmetrics' concordance divides by n - 1.
    assert ours(truth, said) == pytest.approx(expected, abs=2e-3 if ours is concordance else 1e-6)


@pytest.mark.parametrize("ties", [False, True])
def test_against_scipy_and_sklearn(ties: bool) -> None:
    generator = np.random.default_rng(4)
    truth = generator.normal(60, 10, 50)
    said = truth + generator.normal(3, 5, 50)
    if ties:
        truth, said = np.round(truth, -1), np.round(said, -1)
    assert r2(truth, said) == pytest.approx(sk.r2_score(truth, said), abs=1e-12)
    assert pearson(truth, said) == pytest.approx(stats.pearsonr(truth, said).statistic, abs=1e-12)
    assert spearman(truth, said) == pytest.approx(stats.spearmanr(truth, said).statistic, abs=1e-12)
    assert mean_error(truth, said) == pytest.approx(sk.mean_absolute_error(truth, said), abs=1e-12)
    assert root_mean_square_error(truth, said) == pytest.approx(sk.root_mean_squared_error(truth, said), abs=1e-12)


def test_several_numbers_are_averaged() -> None:
    generator = np.random.default_rng(1)
    truth, said = generator.normal(0, 1, (20, 2)), generator.normal(0, 1, (20, 2))
    for plain in MEASURES.values():
        each = [plain(truth[:, k], said[:, k]) for k in range(2)]
        assert plain(truth, said) == pytest.approx(np.mean(each))


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("shape", [(25,), (25, 2)])
def test_weights_are_repeated_clips(name: str, shape: tuple[int, ...]) -> None:
    measure = MEASURES[name]
    generator = np.random.default_rng(2)
    # Far from zero, with ties.
    truth = np.round(generator.normal(0, 3, shape)) + 5000
    said = np.round(truth + generator.normal(0, 2, shape))
    times = generator.integers(0, 4, (10, 25))
    times[0] = 1
    times[1] = 0
    times[2] = 3 * (np.arange(25) == 7)  # one clip three times
    found = measure(truth, said, times)
    assert found[0] == pytest.approx(measure(truth, said), abs=1e-10)
    assert math.isnan(found[1])
    for value, row in zip(found[2:], times[2:], strict=True):
        expected = measure(np.repeat(truth, row, axis=0), np.repeat(said, row, axis=0))
        # A clip that is drawn three times and off has an undefined or a plain value alike.
        assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_pitch_by_hand() -> None:
    truth = np.array([60.0, 60.0, 60.0, 60.0])
    said = np.array([60.4, 60.5, 72.3, 54.0])
    assert pitch_hits(truth, said).tolist() == [1, 0, 0, 0]
    assert pitch_accuracy(truth, said) == 0.25
    assert chroma_accuracy(truth, said) == 0.5
    assert pitch_accuracy(truth, said, tolerance=1.0) == 0.5


def test_pitch_against_mir_eval() -> None:
    melody = pytest.importorskip("mir_eval.melody")
    generator = np.random.default_rng(3)
    truth = generator.integers(30, 90, 300).astype(float)
    said = truth + generator.normal(0, 0.5, 300) + 12 * generator.integers(-2, 3, 300)
    voiced = np.ones(300)
    hertz = [melody.hz2cents(440 * 2 ** ((m - 69) / 12)) for m in (truth, said)]
    assert pitch_accuracy(truth, said) == melody.raw_pitch_accuracy(voiced, hertz[0], voiced, hertz[1])
    assert chroma_accuracy(truth, said) == melody.raw_chroma_accuracy(voiced, hertz[0], voiced, hertz[1])


def test_what_is_empty_or_constant_has_a_defined_result() -> None:
    nothing, one = np.array([]), np.array([1.0])
    for measure in MEASURES.values():
        assert math.isnan(measure(nothing, nothing))
        assert np.isnan(measure(nothing, nothing, np.ones((2, 0)))).all()
    for plain in (r2, pearson, spearman, concordance):
        assert math.isnan(plain(one, one))
    flat, rising = np.full(4, 2.0), np.arange(4.0)
    assert math.isnan(r2(flat, rising))
    assert math.isnan(pearson(rising, flat))
    assert math.isnan(spearman(rising, flat))
    assert concordance(rising, flat) == 0.0
    assert math.isnan(pitch_accuracy(nothing, nothing))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="both \\(n,\\) or both \\(n, K\\)"):
        r2(np.ones(3), np.ones((3, 1)))
    with pytest.raises(ConfigError, match="1 of 2 predictions are not finite"):
        mean_error(np.ones(2), np.array([1.0, math.inf]))
    with pytest.raises(ConfigError, match="2 pitches a clip"):
        pitch_accuracy(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ConfigError, match="one column for each unit"):
        r2(np.ones(3), np.ones(3), np.ones((1, 2)))


def test_mean_over_units_leaves_out_what_is_undefined() -> None:
    values = np.array([1.0, math.nan, 4.0])
    weights = np.array([[1, 1, 1], [2, 9, 1], [0, 1, 0]])
    np.testing.assert_allclose(unit_mean(values, weights), [2.5, 2.0, math.nan])
    np.testing.assert_allclose(unit_mean(np.stack([values, values]), weights), [[2.5, 2.0, math.nan]] * 2)
    assert unit_mean(values).tolist() == [2.5]
    with pytest.raises(ConfigError, match="weights of shape"):
        unit_mean(values, np.ones((1, 2)))
