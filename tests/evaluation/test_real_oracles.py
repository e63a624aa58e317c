"""Values of real recordings, found again without auricle: files by soundfile, scores by scikit-learn and plain loops.

Only the encoder is shared. Vectors are computed clip by clip from the waves, not read from the token cache.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    adjusted_rand_score,
    average_precision_score,
    f1_score,
    mean_absolute_error,
    normalized_mutual_info_score,
    r2_score,
    roc_auc_score,
    roc_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.results.predictions import load_predictions
from auricle.results.record import Result
from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.card import TaskCard
from auricle.tasks.clustering.rule import ClusteringRule
from auricle.tasks.regression.rule import RegressionRule
from auricle.tasks.retrieval.rule import RetrievalRule
from auricle.tasks.verification.rule import VerificationRule

pytestmark = pytest.mark.real
CONFIG = EvaluationConfig(controls=False, seeds=1)


@pytest.fixture(scope="module")
def log_mel() -> FrozenEncoder:
    frontend = KaldiFbankConfig(mels=32).build()
    statistics = LogMelStatisticsConfig(mels=32, frame_rate=frontend.frame_rate).build()
    return FrozenEncoder(frontend, statistics, name="log-mel statistics")


def part(folder: Path, encoder: FrozenEncoder, every: int) -> tuple[Corpus, pd.DataFrame, NDArray[np.float64]]:
    """Every so many clips of a corpus: as auricle opens them, their rows of the table, and their vectors."""
    corpus = open_corpus(folder)
    table = pd.read_csv(folder / "metadata.csv", dtype=str).set_index("file").loc[corpus.column("file")].reset_index()
    rows = np.arange(0, len(table), every)
    vectors = []
    for file in table["file"].iloc[rows]:
        wave, rate = soundfile.read(folder / file, dtype="float32")
        vectors.append(encoder.embed(wave, rate))
    return corpus.select(rows), table.iloc[rows].reset_index(drop=True), np.stack(vectors).astype(np.float64)


@pytest.fixture(scope="module")
def sounds(shared_audio: Path, log_mel: FrozenEncoder) -> tuple[Corpus, pd.DataFrame, NDArray[np.float64]]:
    """A hundred clips of ten environmental sounds, in the five folds of their publisher."""
    return part(shared_audio / "esc10", log_mel, 4)


Evaluated = Callable[..., dict[str, Result]]


@pytest.fixture
def run(log_mel: FrozenEncoder, tmp_path: Path) -> Evaluated:
    """Evaluates a card and returns the results by probe; `tmp_path / card` holds the predictions."""

    def evaluated(card: TaskCard, corpus: Corpus, *probes: str) -> dict[str, Result]:
        found = evaluate(
            [log_mel], card, corpus, out=tmp_path / card.name, probes=probes, config=CONFIG, progress=False
        )
        return {result.probe: result for result in found}

    return evaluated


def unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_logistic_regression_and_neighbours_over_the_published_folds(sounds, run: Evaluated) -> None:
    corpus, table, x = sounds
    labels, folds = table["label"].to_numpy(), table["fold"].to_numpy()
    found = run(TaskCard(name="sounds", protocol="folds"), corpus, "logistic", "knn", "centroid")
    assert found["knn"].fold_names == sorted(set(folds))
    strengths = {c["fold"]: c["setting"] for c in found["logistic"].chosen}
    said = {name: np.empty(len(labels), dtype=object) for name in found}
    for fold in sorted(set(folds)):
        known, asked = folds != fold, folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strengths[fold], max_iter=2000))
        said["logistic"][asked] = model.fit(x[known], labels[known]).predict(x[asked])
        names, centre = sorted(set(labels)), x[known].mean(0)
        for i in np.flatnonzero(asked):
            cosines = unit(x[known]) @ unit(x[i : i + 1])[0]
            votes = dict.fromkeys(names, 0.0)
            for place in np.argsort(-cosines)[:10]:
                votes[labels[known][place]] += (1 + cosines[place]) / 2
            said["knn"][i] = max(names, key=votes.__getitem__)
            centroids = [unit(x[known][labels[known] == name] - centre).mean(0) for name in names]
            nearness = [c @ (x[i] - centre) / np.linalg.norm(c) for c in centroids]
            said["centroid"][i] = names[int(np.argmax(nearness))]
    for name, result in found.items():
        each = [accuracy_score(labels[folds == fold], said[name][folds == fold]) for fold in result.fold_names]
        # The cache holds tokens in half precision: a clip between two classes may fall to the other side.
        np.testing.assert_allclose(result.per_fold, each, atol=0.051, err_msg=name)
        assert result.value == pytest.approx(accuracy_score(labels, said[name]), abs=0.021)
        assert result.metrics["macro_f1"] == pytest.approx(f1_score(labels, said[name], average="macro"), abs=0.03)
        assert result.value > 0.3


def test_retrieval_of_other_sources(sounds, run: Evaluated) -> None:
    corpus, table, x = sounds
    result = run(TaskCard(name="search", rule=RetrievalRule()), corpus, "cosine")["cosine"]
    labels, sources, cosines = table["label"].to_numpy(), table["source"].to_numpy(), unit(x) @ unit(x).T
    precisions, first = [], []
    for i in range(len(labels)):
        others = sources != sources[i]
        relevant = labels[others] == labels[i]
        if relevant.any():
            precisions.append(average_precision_score(relevant, cosines[i, others]))
            first.append(1 / (1 + int(np.flatnonzero(relevant[np.argsort(-cosines[i, others])])[0])))
    assert result.clips == len(precisions)
    assert result.value == pytest.approx(np.mean(precisions), abs=0.005)
    assert result.metrics["mrr"] == pytest.approx(np.mean(first), abs=0.02)


def test_clusters_of_sounds(sounds, run: Evaluated) -> None:
    corpus, table, x = sounds
    result = run(TaskCard(name="groups", rule=ClusteringRule()), corpus, "kmeans_plain")["kmeans_plain"]
    # Its vectors have length one.
    said = KMeans(10, n_init=10, random_state=0).fit_predict(unit(x))
    assert result.value == pytest.approx(adjusted_rand_score(table["label"], said), abs=0.06)
    assert result.metrics["nmi"] == pytest.approx(normalized_mutual_info_score(table["label"], said), abs=0.06)
    contingency = np.array(result.details["contingency"])
    assert contingency.sum(1).tolist() == table["label"].value_counts().sort_index().tolist()


def test_strange_sounds_among_normal_ones(sounds, run: Evaluated, tmp_path: Path) -> None:
    corpus, table, x = sounds
    normal = ("rain", "sea_waves", "helicopter")
    card = TaskCard(name="strange", rule=AnomalyRule(normal=normal), protocol="folds")
    result = run(card, corpus, "nearest")["nearest"]
    predictions = load_predictions(tmp_path / "strange" / str(result.predictions))
    neighbours = int(result.settings["probe"]["k"])
    areas, known = [], table["label"].isin(normal).to_numpy()
    for fold in result.fold_names:
        tested = (table["fold"] == fold).to_numpy()
        model = unit(x[~tested & known])
        distances = 1 - np.sort(unit(x[tested]) @ model.T, axis=1)[:, ::-1][:, :neighbours]
        areas.append(roc_auc_score(~known[tested], distances.mean(1)))
    assert len(predictions.names) == len(table)
    assert result.value == pytest.approx(np.mean(areas), abs=0.02)


def test_speakers_of_made_trials(shared_audio: Path, log_mel: FrozenEncoder, run: Evaluated, tmp_path: Path) -> None:
    corpus, table, x = part(shared_audio / "fsdd", log_mel, 25)
    card = TaskCard(name="speakers", rule=VerificationRule(identity="source", trials="", made=300))
    result = run(card, corpus, "cosine")["cosine"]
    predictions = load_predictions(tmp_path / "speakers" / str(result.predictions))
    place = {file: i for i, file in enumerate(table["file"])}
    pairs = [[place[side.rpartition("@")[0]] for side in str(name).split(" | ")] for name in predictions.names]
    one, two = np.array(pairs).T
    target = (table["source"].to_numpy()[one] == table["source"].to_numpy()[two]).astype(int)
    assert target.sum() == result.details["trials"]["target"]
    scores = (unit(x)[one] * unit(x)[two]).sum(1)
    accepted, found, _ = roc_curve(target, scores, drop_intermediate=False)
    crossing = int(np.argmin(np.abs(1 - found - accepted)))
    assert result.value == pytest.approx((1 - found[crossing] + accepted[crossing]) / 2, abs=0.02)
    assert result.metrics["auc"] == pytest.approx(roc_auc_score(target, scores), abs=0.002)


def test_pitch_of_piano_notes(shared_audio: Path, log_mel: FrozenEncoder, run: Evaluated) -> None:
    corpus, table, x = part(shared_audio / "piano_notes", log_mel, 3)
    card = TaskCard(name="pitch", label="midi", protocol="folds", rule=RegressionRule(unit="semitones"))
    result = run(card, corpus, "ridge")["ridge"]
    pitch, folds, said = table["midi"].astype(float).to_numpy(), table["fold"].to_numpy(), np.zeros(len(table))
    for chosen in result.chosen:
        asked = folds == chosen["fold"]
        model = make_pipeline(StandardScaler(), Ridge(alpha=chosen["setting"] * int((~asked).sum())))
        said[asked] = model.fit(x[~asked], pitch[~asked]).predict(x[asked])
    assert result.value == pytest.approx(r2_score(pitch, said), abs=0.01)
    assert result.metrics["mae_semitones"] == pytest.approx(mean_absolute_error(pitch, said), rel=0.02)
    assert result.metrics["pitch_accuracy"] == pytest.approx(np.mean(np.abs(pitch - said) <= 0.5), abs=0.05)
