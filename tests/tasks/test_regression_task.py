"""Numbers from sound: from clips to results, against closed forms, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, r2_score

from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.probes import SearchConfig
from auricle.results.predictions import load_predictions, save_predictions
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.regression.answers import RegressionPredictions
from auricle.tasks.regression.rule import RegressionRule
from auricle.tasks.regression.run import RegressionTask, RidgeNumbersConfig

N = 50


def answers(unit: str = "") -> RegressionPredictions:
    generator = np.random.default_rng(2)
    truth = generator.normal(size=N) * 5 + 60
    return RegressionPredictions(
        names=np.array([f"clip {i}" for i in range(N)]),
        group=np.array([f"source {i % 10}" for i in range(N)]),
        fold=np.arange(N) % 2,
        seeds=(0, 1),
        truth=truth,
        predicted=truth + generator.normal(size=(2, N)) * 0.7,
        unit=unit,
    )


def test_numbers_equal_the_libraries_under_weights(tmp_path: Path) -> None:
    predictions = answers("semitones")
    errors = ("r2", "mae_semitones", "pearson", "spearman", "concordance", "rmse")
    assert predictions.metrics == (*errors, "pitch_accuracy", "chroma_accuracy")
    weights = np.random.default_rng(0).integers(0, 3, N)
    rows = np.repeat(np.arange(N), weights)
    t, p = predictions.truth[rows], predictions.predicted[1][rows]
    off = np.abs(p - t)
    expected = {
        "r2": r2_score(t, p),
        "mae_semitones": mean_absolute_error(t, p),
        "pearson": pearsonr(t, p).statistic,
        "spearman": spearmanr(t, p).statistic,
        "concordance": 2 * np.cov(t, p, bias=True)[0, 1] / (t.var() + p.var() + (t.mean() - p.mean()) ** 2),
        "rmse": np.sqrt((off**2).mean()),
        "pitch_accuracy": (off < 0.5).mean(),
        "chroma_accuracy": (off < 0.5).mean(),
    }
    for metric, value in expected.items():
        assert predictions.measure(metric, weights[None].astype(float))[1, 0] == pytest.approx(value), metric
    shifted = replace(predictions, predicted=predictions.truth[None] + np.array([[12.0], [-24.1]]))
    ones = np.ones((1, N))
    assert shifted.measure("chroma_accuracy", ones).tolist() == [[1.0], [1.0]]
    assert shifted.measure("pitch_accuracy", ones).tolist() == [[0.0], [0.0]]
    save_predictions(tmp_path / "a.npz", predictions)
    np.testing.assert_array_equal(load_predictions(tmp_path / "a.npz").arrays()["predicted"], predictions.predicted)
    assert answers("dB").metrics[1] == "mae_db"


def test_ridge_is_the_closed_form() -> None:
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=(80, 5)) * [1, 2, 3, 4, 5], generator.normal(size=5)
    y = x @ w + 3
    found = RidgeNumbersConfig().predict(x[:60].astype(np.float32), y[:60], x[60:].astype(np.float32), 0.1)
    mean, std = x[:60].mean(0), x[:60].std(0)
    z = (x[:60] - mean) / std
    b = np.linalg.solve(z.T @ z + 6 * np.eye(5), z.T @ (y[:60] - y[:60].mean()))
    np.testing.assert_allclose(found, (x[60:] - mean) / std @ b + y[:60].mean(), rtol=1e-4)


@pytest.fixture
def log_mel(encoder: FrozenEncoder) -> FrozenEncoder:
    statistics = LogMelStatisticsConfig(mels=encoder.frontend.width, frame_rate=encoder.frontend.frame_rate).build()
    return FrozenEncoder(encoder.frontend, statistics, name="log-mel")


SEARCH = SearchConfig(epochs=20, lr=(1e-2, 5e-2), weight_decay=(1e-5,), halving=(), min_batches=4)


def test_pitch_of_tones(log_mel: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    pitch = {"low": 59.2, "mid": 83.2, "high": 104.9}
    corpus = tones(clips=30)
    corpus = corpus.with_column("midi", [pitch[label[0]] for label in corpus.labels[:-1]] + [None])
    card = TaskCard(name="toys", folds=3, label="midi", rule=RegressionRule(unit="semitones"))
    config = EvaluationConfig(seeds=2, search=SEARCH, controls=False)
    results = evaluate(
        [log_mel],
        card,
        corpus,
        out=tmp_path / "out",
        probes=("ridge", "linear", "mhca"),
        config=config,
        progress=False,
    )
    ridge, linear, mhca = results
    assert ridge.value > 0.95
    assert linear.value > 0.5
    assert mhca.value > 0.5
    assert (ridge.metric, ridge.unit, ridge.better, ridge.type_name) == ("r2", "", "higher", "regression")
    assert ridge.clips == 29
    assert any("1 clip without a number" in note for note in ridge.notes)
    assert linear.macs == 64
    assert len(linear.seeds) == 2
    assert {p["truth"] for p in ridge.details["scatter"]} <= set(pitch.values())


def test_measured_level_is_the_level(tones: Callable[..., Corpus]) -> None:
    corpus = tones(clips=9)
    (corpus.root / "004 tön.wav").write_bytes(b"no audio")
    rule = RegressionRule(measured="level", unit="dB")
    plan = RegressionTask().plan(TaskCard(name="t", folds=2, rule=rule), corpus, 0)
    truth, _ = plan.payload
    assert len(truth) == 8
    assert any("1 unreadable" in note for note in plan.notes)
    expected = 10 * np.log10(np.mean(corpus.audio(0).astype(np.float64) ** 2))
    assert truth[0] == pytest.approx(expected, abs=1e-6)
    # A sine of amplitude 0.1 in noise of deviation 0.02.
    assert truth[0] == pytest.approx(10 * np.log10(0.1**2 / 2 + 0.02**2), abs=0.3)


def test_what_is_no_number_is_refused(tones: Callable[..., Corpus]) -> None:
    task = RegressionTask()
    with pytest.raises(CorpusError, match="holds no number"):
        task.plan(TaskCard(name="t", rule=RegressionRule()), tones(clips=9), 0)
    with pytest.raises(CorpusError, match="nothing to predict"):
        task.plan(TaskCard(name="t", label="x", rule=RegressionRule()), tones(clips=9, x=[3.0] * 9), 0)
    with pytest.raises(CorpusError, match="no column 'pitch'"):
        task.plan(TaskCard(name="t", label="pitch", rule=RegressionRule()), tones(clips=9), 0)
    with pytest.raises(ConfigError, match="in dB"):
        RegressionRule(measured="level", unit="semitones")
    with pytest.raises(ConfigError, match="serves no task of type 'regression'"):
        task.probe(SearchConfig())


@pytest.mark.real
def test_pitch_of_real_piano_notes(log_mel: FrozenEncoder, shared_audio: Path, tmp_path: Path) -> None:
    card = get_task("piano_pitch")
    corpus = open_corpus(shared_audio / card.corpus)
    config = EvaluationConfig(controls=False)
    result = evaluate([log_mel], card, corpus, out=tmp_path, probes=("ridge",), config=config, progress=False)[0]
    assert result.low > 0.5
    assert result.metrics["pearson"] > 0.7
