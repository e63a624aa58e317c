"""Verification, retrieval, clustering and anomaly detection from clips to results, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.results.record import read_results
from auricle.results.scoring import compare
from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.anomaly.run import AnomalyTask, GaussianNormalConfig, NearestNormalConfig
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.vectors import CARDS_VECTORS
from auricle.tasks.clustering.rule import ClusteringRule
from auricle.tasks.clustering.run import ClusteringTask
from auricle.tasks.retrieval.answers import MEASURED
from auricle.tasks.retrieval.rule import RetrievalRule
from auricle.tasks.retrieval.run import RetrievalTask, _score
from auricle.tasks.vectors import CosineConfig
from auricle.tasks.verification.rule import VerificationRule
from auricle.tasks.verification.run import VerificationTask, make_trials


@pytest.fixture
def log_mel(encoder: FrozenEncoder) -> FrozenEncoder:
    statistics = LogMelStatisticsConfig(mels=encoder.frontend.width, frame_rate=encoder.frontend.frame_rate).build()
    return FrozenEncoder(encoder.frontend, statistics, name="log-mel")


def card(rule, **more) -> TaskCard:
    return TaskCard(name="toys", rule=rule, folds=3, **more)


def run(encoder: FrozenEncoder, corpus: Corpus, task: TaskCard, out: Path, **more):
    config = EvaluationConfig(controls=False, **more.pop("config", {}))
    return evaluate([encoder], task, corpus, out=out, config=config, progress=False, **more)


def test_tones_are_found_clustered_and_told_from_strange_ones(
    log_mel: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = tones(clips=30, source=[f"s{i}" for i in range(30)])
    found = run(log_mel, corpus, card(RetrievalRule()), tmp_path / "r")
    assert [r.probe for r in found] == ["cosine", "cosine_centred", "cosine_whitened"]
    assert found[0].value > 0.95
    assert (found[0].type_name, found[0].metric, found[0].unit) == ("retrieval", "map_retrieval", "%")
    # A third of the clips are relevant.
    assert found[0].constant == "random order"
    assert found[0].constant_metrics["map_retrieval"] == pytest.approx(0.38, abs=0.08)
    grouped = run(log_mel, corpus, card(ClusteringRule()), tmp_path / "c", config={"seeds": 2})
    assert grouped[0].value == pytest.approx(1.0)
    assert [len(r.seeds) for r in grouped] == [2, 1]
    strange = run(log_mel, corpus, card(AnomalyRule()), tmp_path / "a")
    assert all(r.value > 0.95 for r in strange)
    assert set(strange[0].per_class) == {"low", "mid", "high"}
    one = run(log_mel, corpus, card(AnomalyRule(normal=("low", "mid"))), tmp_path / "b")
    assert set(one[0].per_class) == {"low+mid"}
    assert read_results(tmp_path / "b") == one
    assert compare(one[0], one[1], tmp_path / "b").value == pytest.approx(one[0].value - one[1].value)


def test_trials_of_a_table_and_made_ones(log_mel: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(clips=30, bird=[f"bird {i % 3}" for i in range(30)])
    lines = ["enroll,test,target"]
    lines += [f"{i:03d} tön.wav,{j:03d} tön.wav,{int(i % 3 == j % 3)}" for i in range(12) for j in range(i + 1, 12)]
    (corpus.root / "trials.csv").write_text("\n".join(lines), encoding="utf-8")
    rule = VerificationRule(identity="bird")
    result = run(log_mel, corpus, card(rule), tmp_path / "v", probes=("cosine",))[0]
    assert result.value < 0.1
    assert (result.better, result.clips) == ("lower", 66)
    assert result.details["trials"] == {"target": 18, "nontarget": 48}
    assert any("every identity occurs" in note for note in result.notes)
    with pytest.raises(CorpusError, match="0 known clips to learn 'centre'"):
        run(log_mel, corpus, card(rule), tmp_path / "w", probes=("cosine_centred",))
    made = run(
        log_mel,
        corpus,
        card(VerificationRule(identity="bird", trials="", made=20, made_of=2)),
        tmp_path / "m",
        probes=("cosine", "cosine_centred"),
    )
    assert made[0].clips == 20
    assert made[1].settings["learnt_from"] == 10
    (corpus.root / "trials.csv").write_text("enroll,test,target\nnowhere.wav,001 tön.wav,1\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="nowhere"):
        run(log_mel, corpus, card(rule), tmp_path / "u")
    with pytest.raises(CorpusError, match="no column 'speaker'"):
        run(log_mel, corpus, card(VerificationRule(identity="speaker")), tmp_path / "s")


def test_broken_clips_leave_their_trials(log_mel: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(clips=12, bird=[f"bird {i % 3}" for i in range(12)])
    (corpus.root / "004 tön.wav").write_bytes(b"no audio")
    rule = VerificationRule(identity="bird", trials="", made=20)
    result = run(log_mel, corpus, card(rule), tmp_path / "v", probes=("cosine",))[0]
    assert result.clips < result.clips_total == 20
    assert list(result.missing) == ["004 tön.wav"]
    assert any("could not be read" in note for note in result.notes)
    for rule in (RetrievalRule(), ClusteringRule(), AnomalyRule()):
        result = run(log_mel, corpus, card(rule), tmp_path / type(rule).__name__)[0]
        assert list(result.missing) == ["004 tön.wav"]


def test_ranking_of_a_query_by_hand() -> None:
    vectors = np.array([[1.0, 0], [0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.7, 0.3]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = np.array(["a", "a", "b", "c", "d"])
    relevant = np.array([False, False, True, True, False])
    numbers = dict(zip(MEASURED, _score(vectors, groups, relevant, 0, 0), strict=True))
    # The query's own source is left out; the order is b, d, c with b and c relevant.
    assert numbers["map_retrieval"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert (numbers["recall_at_1"], numbers["mrr"]) == (1, 1)
    assert numbers["ndcg"] == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3)))
    tied = np.ones((5, 2))
    assert _score(tied, groups, relevant, 0, 0)[MEASURED.index("mrr")] == pytest.approx(1 / 2)


def test_made_trials_are_balanced_and_unique() -> None:
    whose = np.array(["a", "b", "a", "b", "c", "a"])
    trials = make_trials(np.arange(6), whose, 6, seed=0)
    assert trials.target.sum() == 3
    assert ((whose[trials.enroll] == whose[trials.test]) == trials.target).all()
    assert len({(a, b) for a, b in zip(trials.enroll, trials.test, strict=True)}) == 6
    with pytest.raises(CorpusError, match="at least two identities"):
        make_trials(np.arange(3), np.array(["a", "a", "a"]), 4, seed=0)


def test_preparations_of_vectors() -> None:
    generator = np.random.default_rng(0)
    known = (generator.normal(size=(400, 3)) * [1, 10, 0.1] + 5).astype(np.float32)
    white = CosineConfig("whiten").fit(known)
    x = (known[:50] - known.mean(0)).astype(np.float64)
    # Cosines of whitened vectors are cosines under the inverse (shrunk) covariance.
    inverse = np.linalg.inv(LedoitWolf().fit(known.astype(np.float64)).covariance_)
    gram = x @ inverse @ x.T
    expected = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    np.testing.assert_allclose(white(known[:50]) @ white(known[:50]).T, expected, atol=1e-4)
    plain = CosineConfig("centre").fit(known)(known[:9])
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1)
    whose = np.array(["a", "b"])[(generator.random(400) < 0.5).astype(int)]
    apart = known.copy()
    apart[whose == "b", 2] += 1.0
    told = CosineConfig("lda").fit(apart, whose)(apart)
    assert np.abs(told[whose == "a"].mean() - told[whose == "b"].mean()) > 1.5
    with pytest.raises(CorpusError, match="two identities"):
        CosineConfig("lda").fit(known, np.full(400, "one"))
    with pytest.raises(ConfigError, match="not finite"):
        CosineConfig().fit(known[:0])(np.full((1, 3), np.nan, dtype=np.float32))


def test_models_of_normal_clips() -> None:
    generator = np.random.default_rng(1)
    mix = generator.normal(size=(4, 4))
    normal = (generator.normal(size=(500, 4)) @ mix).astype(np.float32)
    scores = GaussianNormalConfig().fit(normal)(normal)
    # Mahalanobis distances of a Gaussian: their squares are chi-square with four degrees of freedom.
    assert (scores**2).mean() == pytest.approx(4, rel=0.1)
    index = NearestNormalConfig(k=2).fit(normal[:5])
    asked = normal[7:8]
    unit = normal[:5] / np.linalg.norm(normal[:5], axis=1, keepdims=True)
    distances = 1 - unit @ (asked[0] / np.linalg.norm(asked))
    assert index(asked)[0] == pytest.approx(np.sort(distances)[:2].mean(), abs=1e-5)
    with pytest.raises(ConfigError, match="all normal embeddings are equal"):
        GaussianNormalConfig().fit(np.ones((5, 3), dtype=np.float32))


@pytest.mark.parametrize(
    ("kind", "rule", "columns", "words"),
    [
        (RetrievalTask(), RetrievalRule(), {"source": ["one"] * 9}, "no two clips of different sources"),
        (ClusteringTask(), ClusteringRule(clusters=20), {}, "9 labelled clips for 20 clusters"),
        (ClusteringTask(), ClusteringRule(), {"label": ["a;b"] * 4 + ["a"] * 5}, "expects one each"),
        (AnomalyTask(), AnomalyRule(normal=("hum",)), {}, "no clip has the normal label 'hum'"),
        (
            AnomalyTask(),
            AnomalyRule(normal=("mid",)),
            {"split": ["train", "valid", "test"] * 3},
            "0 normal clips of 'mid'",
        ),
        (VerificationTask(), VerificationRule(), {}, "trials.csv"),
    ],
)
def test_what_can_not_be_judged_is_refused_at_once(kind, rule, columns, words, tones: Callable[..., Corpus]) -> None:
    labels = columns.pop("label", None)
    corpus = tones(clips=9, **columns)
    if labels:
        corpus = corpus.with_column("label", labels)
    if words.startswith("0 normal"):
        corpus = corpus.with_column("label", ["low", "high", "mid"] * 3)
    with pytest.raises(CorpusError, match=words):
        kind.plan(card(rule), corpus, 0)


@pytest.mark.parametrize("kind", [RetrievalTask(), ClusteringTask(), AnomalyTask()])
def test_a_column_that_is_missing_comes_with_its_remedy(kind, tones: Callable[..., Corpus]) -> None:
    rule = {"retrieval": RetrievalRule(), "clustering": ClusteringRule(), "anomaly": AnomalyRule()}[kind.name]
    with pytest.raises(CorpusError, match=r"no column 'lable'.*with --label; did you mean 'label'"):
        kind.plan(card(rule, label="lable"), tones(clips=9), 0)


def test_folds_that_share_sources_are_told_of_anomalies_too(tones: Callable[..., Corpus]) -> None:
    corpus = tones(clips=12, source=["one"] * 12, split=["train"] * 4 + ["valid"] * 2 + ["test"] * 6)
    notes = AnomalyTask().plan(card(AnomalyRule()), corpus, 0).notes
    assert any("are both in training and in test" in note for note in notes)
    only = corpus.with_column("label", ["low"] * 6 + ["low", "high"] * 3)
    notes = AnomalyTask().plan(card(AnomalyRule(normal=("low",))), only, 0).notes
    assert not any("counted as errors" in note for note in notes)


@pytest.mark.real
@pytest.mark.parametrize(
    "known", [c for c in CARDS_VECTORS if c.name.startswith(("arabic", "esc10"))], ids=lambda c: c.name
)
def test_real_clips_score_above_chance(
    known: TaskCard, log_mel: FrozenEncoder, shared_audio: Path, tmp_path: Path
) -> None:
    corpus = open_corpus(shared_audio / known.corpus)
    if known.corpus == "esc10":
        corpus = corpus.select(np.arange(0, len(corpus), 4))
    result = run(log_mel, corpus, known, tmp_path / known.name)[0]
    chance = {"eer": 0.5, "map_retrieval": 0.12, "ari": 0.0, "auc": 0.5}[result.metric]
    gain = chance - result.high if result.better == "lower" else result.low - chance
    assert gain > 0.03
