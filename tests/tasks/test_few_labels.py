"""Few-shot episodes, label budgets and curves over layers, from clips to results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.controls import controls
from auricle.evaluation.driver import EvaluatedEncoder, EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.probes import SearchConfig
from auricle.results.predictions import load_predictions
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.few import CARDS_FEW
from auricle.tasks.clips.layer_curve import LayerCurveConfig, choose, layer_tokens
from auricle.tasks.few_shot.answers import EpisodePredictions
from auricle.tasks.few_shot.rule import FewShotRule
from auricle.tasks.few_shot.run import FewShotTask
from auricle.tasks.label_budget import run as label_budget_task
from auricle.tasks.label_budget.answers import BudgetPredictions
from auricle.tasks.label_budget.rule import LabelBudgetRule
from auricle.tasks.shallow import LogisticConfig
from auricle.tokens.extract import extract

SEARCH = SearchConfig(epochs=8, lr=(3e-3, 3e-2), weight_decay=(1e-4,), halving=(), min_batches=2)
ALONE = EvaluationConfig(controls=False)
EPISODES = TaskCard(name="episodes", rule=FewShotRule(ways=2, shots=2, queries=3, episodes=40))
BUDGET = TaskCard(name="budget", folds=3, rule=LabelBudgetRule(budgets=(1, 3, 50), draws=2))


def log_mel(encoder: FrozenEncoder) -> EvaluatedEncoder:
    return next(s for s in controls(encoder) if s.role == "log-mel")


def test_episodes(encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(clips=30, source=[f"s{i // 2}" for i in range(30)])
    out = tmp_path / "out"
    results = evaluate([encoder], EPISODES, corpus, out=out, config=EvaluationConfig(), progress=False)
    assert [(r.role, r.probe) for r in results][::3] == [
        ("pretrained", "centroid"),
        ("random", "centroid"),
        ("log-mel", "centroid"),
        ("mfcc", "centroid"),
    ]
    by_name = {(r.role, r.probe): r for r in results}
    for probe in ("centroid", "logistic", "knn"):
        assert by_name["log-mel", probe].value > 0.85
    first = results[0]
    assert (first.type_name, first.metric, first.clips, first.protocol) == ("few_shot", "accuracy", 40, "episodes")
    assert first.details["few_shot"]["episodes"] == 40
    assert "no source on both sides" in first.split
    # Every encoder met the same episodes.
    said = [load_predictions(out / r.predictions) for r in results]
    assert all(isinstance(one, EpisodePredictions) and (one.names == said[0].names).all() for one in said)
    # An answer is what the reader says of the episode's own vectors: nearest neighbour, in a loop.
    evaluated = log_mel(encoder)
    cache = extract(evaluated.encoder, corpus, tmp_path / "t", progress=False)
    vectors = cache.select().pooled / np.linalg.norm(cache.select().pooled, axis=1, keepdims=True)
    _, episodes = FewShotTask().plan(EPISODES, corpus, 0).payload
    answers = load_predictions(out / by_name["log-mel", "knn"].predictions)
    for e in range(5):
        support = episodes.support[e].ravel()
        for q, clip in enumerate(episodes.query[e].ravel()):
            best = int(np.argmax(vectors[support] @ vectors[clip]))
            assert answers.said[0, e, q] == episodes.classes[e][best // 2]


def test_episodes_refuse_what_they_can_not_serve(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    several = tones(clips=30, several=True, name="several")
    with pytest.raises(CorpusError, match="one label a clip"):
        evaluate([encoder], EPISODES, several, out=tmp_path / "a", progress=False)
    corpus = tones(clips=30)
    card = replace(EPISODES, rule=FewShotRule(ways=2, shots=1, queries=1, part="test"))
    with pytest.raises(CorpusError, match="names no test clips"):
        evaluate([encoder], card, corpus, out=tmp_path / "b", progress=False)
    with pytest.raises(ConfigError, match="has 5 strengths; expected one"):
        evaluate([encoder], EPISODES, corpus, out=tmp_path / "c", probes=[LogisticConfig()], progress=False)
    with pytest.raises(ConfigError, match="no probe of tasks of type 'few_shot'"):
        evaluate([encoder], EPISODES, corpus, out=tmp_path / "d", probes=["linear"], progress=False)


def test_episodes_of_test_clips_and_of_clips_that_can_not_be_read(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = tones(clips=60, split=["train"] * 30 + ["test"] * 30)
    (corpus.root / "031 tön.wav").write_bytes(b"no sound")
    (result,) = evaluate(
        [log_mel(encoder)], EPISODES, corpus, out=tmp_path, probes=["knn"], config=ALONE, progress=False
    )
    assert "from the test clips" in result.split
    assert result.clips < result.clips_total == 40
    assert any("excluded: a clip could not be read" in note for note in result.notes)


def test_a_budget_curve(encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(clips=36, source=[f"s{i}" for i in range(36)])
    search = SEARCH.replace(epochs=4)
    config = EvaluationConfig(search=search, seeds=1)
    options = {"out": tmp_path, "config": config, "progress": False}
    results = evaluate([encoder], BUDGET, corpus, probes=["linear", "centroid"], **options)
    by_name = {(r.role, r.probe): r for r in results}
    for r in results:
        curve = r.details["budget_curve"]
        # Four clips of each class teach in a fold: 50 says what all of them say.
        assert [point["budget"] for point in curve] == [1, 3, 50]
        assert r.value == pytest.approx(np.mean([point["value"] for point in curve]))
        assert all(point["low"] <= point["value"] <= point["high"] for point in curve)
        assert all(np.mean(point["draws"]) == pytest.approx(point["value"]) for point in curve)
        assert (r.type_name, r.metric, r.seeds, r.refit) == ("label_budget", "accuracy", [0, 1], False)
        assert {c["budget"] for c in r.chosen} == {1, 3, 50}
        assert len(r.chosen) == 3 * 2 * 3
    assert by_name["log-mel", "centroid"].value > 0.9
    grown = [point["value"] for point in by_name["log-mel", "linear"].details["budget_curve"]]
    assert grown[-1] > max(grown[0], 0.8)
    saved = load_predictions(tmp_path / results[0].predictions)
    assert isinstance(saved, BudgetPredictions)
    assert saved.curve[0].scores.shape == (2, 36, 3)


def test_the_budget_is_all_that_is_learnt_from(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[tuple[set[int], set[int]]]] = {}
    real = label_budget_task.fit_fold

    def watch(probe, tokens, targets, fold, **kwargs):  # type: ignore[no-untyped-def]
        counts = [np.bincount(targets.numbers[rows], minlength=3).tolist() for rows in (fold.train, fold.valid)]
        assert counts[0] == counts[1] == [counts[0][0]] * 3
        assert kwargs["refit"] is False
        seen.setdefault(counts[0][0], []).append((set(fold.train.tolist()), set(fold.valid.tolist())))
        return real(probe, tokens, targets, fold, **kwargs)

    monkeypatch.setattr(label_budget_task, "fit_fold", watch)
    corpus = tones(clips=45, fold=[i // 3 % 3 for i in range(45)])
    card = replace(BUDGET, rule=LabelBudgetRule(budgets=(1, 3), draws=2))
    evaluate([log_mel(encoder)], card, corpus, out=tmp_path, probes=["centroid"], config=ALONE, progress=False)
    assert sorted(seen) == [1, 3]
    assert len(seen[1]) == len(seen[3]) == 6
    for small, large in zip(seen[1], seen[3], strict=True):
        assert small[0] < large[0]
        assert small[1] < large[1]
    # Other draws are other clips.
    assert len({frozenset(train) for train, _ in seen[1]}) == 6


def test_validation_by_all_clips_is_told(encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(clips=36, several=True)
    card = replace(BUDGET, rule=LabelBudgetRule(budgets=(1, 2), draws=1, validation="all"))
    options = {"config": ALONE.replace(search=SEARCH, seeds=1), "progress": False}
    (result,) = evaluate([encoder], card, corpus, out=tmp_path, probes=["linear"], **options)
    assert result.metric == "mAP"
    assert any("flatters small budgets" in note for note in result.notes)
    assert result.sizes[0][1] == 12


def test_a_stopped_budget_goes_on(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tones(clips=36)
    config = ALONE.replace()
    options = {"out": tmp_path, "probes": ["centroid"], "config": config, "progress": False}
    calls = 0
    real = label_budget_task.fit_fold

    def die(*args, **kwargs):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls == 10:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(label_budget_task, "fit_fold", die)
    with pytest.raises(KeyboardInterrupt):
        evaluate([encoder], BUDGET, corpus, **options)
    (result,) = evaluate([encoder], BUDGET, corpus, **options)
    assert calls == 1 + 3 * 2 * 3
    monkeypatch.undo()
    (whole,) = evaluate([encoder], BUDGET, corpus, **{**options, "out": tmp_path / "again"})
    assert whole.values == result.values


def test_a_curve_over_layers(tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path) -> None:
    corpus = tones(clips=30)
    config = encoder.encoder.config.replace(depth=3)
    deep = FrozenEncoder(encoder.frontend, config.build(torch.Generator().manual_seed(1)), name="deep")
    card = TaskCard(name="toys", folds=3)
    config = EvaluationConfig(search=SEARCH, seeds=2)
    results = evaluate([deep], card, corpus, out=tmp_path, probes=["layer_curve"], config=config, progress=False)
    first = results[0]
    curve = first.details["layer_curve"]
    assert [point["layer"] for point in curve] == [1, 2, 3]
    assert sum(point["chosen"] for point in curve) == 3
    assert first.details["layers_chosen"] == [c["layer"] for c in first.chosen]
    assert all(point["low"] <= point["value"] <= point["high"] for point in curve)
    assert first.tried == 3 * 2
    assert first.settings["vectors"] == "mean of each layer's tokens"
    # What each fold says is what a fit at its chosen layer says, and no test clip chose it.
    assert min(p["value"] for p in curve) - 0.2 < first.value < max(p["value"] for p in curve) + 0.2
    plain = next(r for r in results if r.role == "log-mel")
    assert [point["layer"] for point in plain.details["layer_curve"]] == [0]
    assert plain.value == pytest.approx(plain.details["layer_curve"][0]["value"])
    (logistic,) = evaluate(
        [log_mel(encoder)],
        card,
        corpus,
        out=tmp_path / "l",
        probes=[LayerCurveConfig("logistic")],
        config=config.replace(controls=False),
        progress=False,
    )
    assert logistic.value > 0.9
    assert logistic.seeds == [0]
    with pytest.raises(ConfigError, match=r"layer_curve\.probe is 'knn'"):
        LayerCurveConfig("knn")


def test_a_layers_vector_is_the_mean_of_its_own_tokens(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = tones(clips=5)
    tokens = extract(encoder, corpus, tmp_path, layers=(0, 1), progress=False).select([3, 1], layers="all")
    for layer in layer_tokens(tokens):
        for i in range(2):
            start, count = layer.start[i], layer.counts[i]
            rows = layer.tokens[start : start + count][layer.valid[start : start + count]]
            np.testing.assert_allclose(layer.pooled[i], rows.astype(np.float64).mean(0), atol=1e-4)
            np.testing.assert_array_equal(layer.batch([i]).pooled[0], layer.select([i]).pooled[0])
    first, last = layer_tokens(tokens)
    assert not np.allclose(first.pooled, last.pooled, atol=1e-2)


def test_the_layer_is_chosen_by_validation() -> None:
    assert choose([0.5, 0.8, 0.7]) == 1
    assert choose([0.8, 0.8, 0.7]) == 1
    assert choose([np.nan, 0.1, np.nan]) == 1


def test_cards_name_corpora_and_rules() -> None:
    names = [card.name for card in CARDS_FEW]
    assert len(set(names)) == len(names)
    for card in CARDS_FEW:
        assert all((card.title, card.licence, card.citation, card.made))
        assert TaskCard.from_json(card.to_json()) == card


@pytest.mark.real
def test_real_clips_few_shot_and_budget(shared_audio: Path, tmp_path: Path) -> None:
    cards = {card.name: card for card in CARDS_FEW}
    whole = open_corpus(str(shared_audio / "esc10"))
    # Two folds, five classes: enough for a score far from chance, few enough to encode in seconds.
    some = sorted(set(whole.column("label")))[:5]
    keep = [
        str(f) in "123" and label in some for f, label in zip(whole.column("fold"), whole.column("label"), strict=True)
    ]
    corpus = whole.select(np.array(keep))
    frontend = KaldiFbankConfig(mels=64).build()
    plain = FrozenEncoder(frontend, LogMelStatisticsConfig(mels=64).build(), name="log-mel")
    options = {"tokens": tmp_path / "t", "config": ALONE.replace(), "progress": False}
    rule = FewShotRule(ways=5, shots=3, queries=5, episodes=60)
    (shots,) = evaluate(
        [plain], replace(cards["esc10_few_shot"], rule=rule), corpus, out=tmp_path / "s", probes=["centroid"], **options
    )
    assert shots.value > 0.45
    assert shots.low > 0.2
    rule = LabelBudgetRule(budgets=(1, 5, 8), draws=3)
    (budget,) = evaluate(
        [plain], replace(cards["esc10_budget"], rule=rule), corpus, out=tmp_path / "b", probes=["logistic"], **options
    )
    values = [point["value"] for point in budget.details["budget_curve"]]
    assert values[-1] > values[0] > 0.2
