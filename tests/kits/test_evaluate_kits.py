"""Whole evaluations by the kits' protocols: folds, leaks, seeds, records, and resuming after a stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.driver import EvaluatedEncoder, EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.kits import task as kit_task
from auricle.kits.evaluate import evaluate_by_protocol
from auricle.kits.folds import kit_plan
from auricle.kits.grid import GridPoint
from auricle.kits.head import KitHeadConfig
from auricle.kits.protocol_tasks import for_task
from auricle.kits.protocols import EVAR, HEAR, MARBLE, SUPERB, XARES, XARES_KNN, NeighbourConfig, ProtocolConfig
from auricle.kits.task import neighbour_votes
from auricle.probes.contract import Labelled
from auricle.results.predictions import load_predictions
from auricle.results.record import read_results
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import Fold, Plan, plan_folds
from auricle.tasks.retrieval.rule import RetrievalRule
from auricle.tasks.targets import Targets
from auricle.tokens.token_set import TokenSet

CARD = TaskCard(name="toys", labels="single", protocol="folds")
CONFIG = EvaluationConfig()
ALONE = CONFIG.replace(controls=False)
FOLDS = {"fold": [1 + i // 10 for i in range(30)]}


def short(protocol: ProtocolConfig, **training: object) -> ProtocolConfig:
    """The protocol with less to train, and narrower hidden layers."""
    points = tuple(
        GridPoint(head=p.head.replace(hidden=tuple(24 for _ in p.head.hidden)), lr=p.lr) for p in protocol.points
    )
    return protocol.replace(points=points, training=protocol.training.replace(**training))


@pytest.fixture
def quick(tmp_path: Path) -> dict:
    return {"out": tmp_path / "probes", "progress": False, "config": CONFIG, "command": "test"}


def test_hear_on_folds(encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict) -> None:
    corpus = tones(clips=30, **FOLDS)
    protocol = short(HEAR, epochs=30, patience=4)
    results = evaluate_by_protocol([encoder], CARD, corpus, protocol=protocol, workers=2, **quick)
    assert [r.role for r in results] == ["pretrained", "random", "log-mel", "mfcc"]
    first, logmel = results[0], results[2]
    assert (first.protocol_name, first.probe, first.protocol) == ("hear", "hear_mlp", "folds")
    assert (first.tried, first.sizes, first.seeds) == (8, [[10, 10, 10]] * 3, [42])
    assert "first fold" in first.leaks[0]
    # The first fold tries all points; the others train the chosen one alone.
    assert [len(c["tried"]) for c in first.chosen] == [8, 1, 1]
    assert len({c["point"] for c in first.chosen}) == 1
    assert first.chosen[0]["validation"] == max(t["validation"] for t in first.chosen[0]["tried"])
    assert logmel.value > 0.9
    assert logmel.details["kit"]["mean"] == pytest.approx(np.mean(logmel.per_fold))
    assert logmel.details["kit"]["fold_deviation"] == pytest.approx(np.std(logmel.per_fold, ddof=1))
    head = protocol.tried[first.chosen[0]["point"]].head
    widths = [encoder.pooled_width, *head.hidden, 3]
    assert first.params == sum((a + 1) * b for a, b in itertools.pairwise(widths)) + 2 * sum(head.hidden)
    assert results == read_results(quick["out"])
    saved = load_predictions(quick["out"] / first.predictions)
    assert len(saved.names) == 30


def test_a_second_call_computes_nothing_and_a_stopped_one_resumes(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tones(clips=30, **FOLDS)
    protocol = short(EVAR, epochs=3).replace(seeds=(42, 43), valid_share=0.3)
    calls: list[int] = []
    real = kit_task.fit_points

    def counted(*args: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(kit_task, "fit_points", counted)
    run = {"protocol": protocol, "workers": 1, **quick, "config": ALONE}
    with pytest.raises(KeyboardInterrupt):
        evaluate_by_protocol([encoder], CARD, corpus, **run)
    result = evaluate_by_protocol([encoder], CARD, corpus, **run)[0]
    # Three parts were kept of six; the fourth broke off and is made again.
    assert len(calls) == 1 + 6
    assert (len(result.per_seed), result.leaks) == (2, [])
    assert evaluate_by_protocol([encoder], CARD, corpus, **run) == [result]
    assert len(calls) == 7
    # A known result takes what is known of its encoder now, and is written again.
    (known,) = evaluate_by_protocol([EvaluatedEncoder(encoder, seen=True)], CARD, corpus, **run)
    assert (known.key, known.seen, len(calls)) == (result.key, True, 7)
    assert read_results(quick["out"]) == [known]
    changed = protocol.replace(training=protocol.training.replace(epochs=2))
    assert evaluate_by_protocol([encoder], CARD, corpus, **{**run, "protocol": changed})[0].key != result.key


def test_evar_says_what_cropping_would_do(encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict) -> None:
    corpus = tones(clips=30, **FOLDS)
    protocol = short(EVAR, epochs=2).replace(seeds=(42,), valid_share=0.3, crop=EVAR.crop.replace(seconds=0.5))
    notes = evaluate_by_protocol([encoder], CARD, corpus, protocol=protocol, **{**quick, "config": ALONE})[0].notes
    assert any("no clip is longer" in note for note in notes)
    assert any("pads 30 shorter clips" in note for note in notes)
    assert any("without regard to their source" in note for note in notes)


def test_xares_chooses_on_the_test_fold_and_says_so(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict
) -> None:
    corpus = tones(clips=30, **FOLDS)
    results = evaluate_by_protocol([encoder], CARD, corpus, protocol="xares", **{**quick, "config": ALONE})
    assert [(r.probe, r.protocol_name) for r in results] == [("xares_linear", "xares"), ("xares_knn", "xares")]
    trained, votes = results
    # Each head has a list of the clips that it used, and so has `strict`, which may use others.
    evaluate([encoder], CARD, corpus, probes=["knn"], **{**quick, "config": ALONE})
    assert sorted(path.name for path in quick["out"].glob("*ledger.jsonl")) == [
        "ledger.jsonl",
        "xares_knn.ledger.jsonl",
        "xares_linear.ledger.jsonl",
    ]
    assert trained.sizes == [[20, 10, 10]] * 3
    assert "fold that is tested" in trained.leaks[0]
    # What it validated at is what it reports: that is the leak.
    assert [c["validation"] for c in trained.chosen] == pytest.approx(trained.per_fold)
    assert (votes.leaks, votes.params, votes.macs) == ([], 0, None)


@pytest.mark.parametrize(("kit", "name"), [(MARBLE, "marble_mlp"), (SUPERB, "superb_linear")])
def test_kits_that_read_layers(
    kit: ProtocolConfig, name: str, encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict
) -> None:
    corpus = tones(clips=30, split=["train"] * 18 + ["valid"] * 6 + ["test"] * 6)
    rules = {"epochs": 8} if name.startswith("marble") else {"steps": 30, "check_every": 10}
    card = TaskCard(name="toys", labels="single")
    quick = {**quick, "config": ALONE}
    result = evaluate_by_protocol([encoder], card, corpus, protocol=short(kit, **rules), **quick)[0]
    assert (result.probe, result.sizes, result.leaks) == (name, [[18, 6, 6]], [])
    layers = encoder.depth + (name == "superb_linear")
    assert result.params == layers + 24 * (encoder.width + 1) + 3 * 25
    assert np.isfinite(result.value)


def test_several_labels_a_clip(encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict) -> None:
    corpus = tones(clips=40, several=True, split=["train"] * 24 + ["valid"] * 8 + ["test"] * 8)
    card = TaskCard(name="tags", labels="multi")
    for kit in (short(HEAR, epochs=30, patience=3), short(EVAR, epochs=30)):
        results = evaluate_by_protocol([encoder], card, corpus, protocol=kit, **quick)
        assert {r.metric for r in results} == {"mAP"}
        assert next(r.value for r in results if r.role == "log-mel") > 0.6


@pytest.mark.real
def test_real_scenes_by_evar(encoder: FrozenEncoder, shared_audio: Path, quick: dict) -> None:
    from auricle.corpus.sources import open_corpus
    from auricle.evaluation.controls import controls
    from auricle.tasks.cards.registry import get_task

    card = get_task("sed_synth")
    logmel = next(c for c in controls(encoder) if c.role == "log-mel")
    result = evaluate_by_protocol([logmel], card, open_corpus(shared_audio / card.corpus), protocol="evar", **quick)[0]
    assert result.per_seed[0] != result.per_seed[1]
    # Six events, about half of them in a scene: chance is the share of positives.
    chance = np.mean([c["positives"] for c in result.per_class.values()]) / result.clips
    assert result.low > chance


def test_a_vote_weighs_as_the_softmax_of_its_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    known, asked = torch.randn(20, 3, 5, generator=generator), torch.randn(4, 3, 5, generator=generator)
    labels = torch.arange(20) % 3
    votes = neighbour_votes(
        Labelled(TokenSet.from_tensors(known), labels), TokenSet.from_tensors(asked), 3, NeighbourConfig(k=4)
    )
    for row, clip in enumerate(asked.mean(1).double()):
        cosines = [float(torch.cosine_similarity(clip, other, dim=0)) for other in known.mean(1).double()]
        near = sorted(range(20), key=lambda i: -cosines[i])[:4]
        weights = np.exp([cosines[i] / 0.07 for i in near])
        want = np.zeros(3)
        for i, weight in zip(near, weights / weights.sum(), strict=True):
            want[labels[i]] += weight
        assert votes[row] == pytest.approx(want, abs=1e-4)


def laid(folds: int = 4, clips: int = 40) -> tuple[Targets, Plan, list[str]]:
    truth = np.eye(4, dtype=bool)[np.arange(clips) % 4]
    targets = Targets("single", ("a", "b", "c", "d"), np.arange(clips), truth)
    numbers = [str(1 + (i // 4) % folds) for i in range(clips)]
    plan = plan_folds(CARD, targets, splits=[""] * clips, folds=numbers, groups=[str(i) for i in range(clips)], seed=0)
    return targets, plan, numbers


def test_fold_maps() -> None:
    targets, plan, numbers = laid(clips=160)
    hear = kit_plan(HEAR, plan, targets, [""] * 160, 0)
    # Test on one fold, validate on the next, and training clips fold after fold.
    assert [numbers[f.test[0]] for f in hear.folds] == ["1", "2", "3", "4"]
    assert [numbers[f.valid[0]] for f in hear.folds] == ["2", "3", "4", "1"]
    assert [list(dict.fromkeys(numbers[r] for r in f.train)) for f in hear.folds] == [
        ["3", "4"], ["1", "4"], ["1", "2"], ["2", "3"]
    ]  # fmt: skip
    leaky = kit_plan(XARES, plan, targets, [""] * 160, 0)
    assert all(np.array_equal(f.valid, f.test) and len(f.train) == 120 for f in leaky.folds)
    one, two = (kit_plan(EVAR, plan, targets, [""] * 160, seed) for seed in (42, 43))
    for fold, other in zip(one.folds, two.folds, strict=True):
        assert len(fold.valid) == 12
        assert not set(fold.valid.tolist()) & set(fold.train.tolist())
        assert set(np.concatenate([fold.train, fold.valid, fold.test]).tolist()) == set(range(160))
        assert np.array_equal(fold.test, other.test)
    assert any(set(a.valid.tolist()) != set(b.valid.tolist()) for a, b in zip(one.folds, two.folds, strict=True))
    fixed = [kit_plan(SUPERB, plan, targets, [""] * 160, seed).folds[0].valid.tolist() for seed in (1, 2)]
    assert fixed[0] == fixed[1]
    assert len(fixed[0]) == 24


def test_evar_draws_until_every_class_validates_or_gives_up() -> None:
    targets, plan, _ = laid(clips=40)
    for fold in kit_plan(EVAR.replace(valid_share=0.2), plan, targets, [""] * 40, 0).folds:
        assert targets.truth[fold.valid].any(0).all()
    with pytest.raises(CorpusError, match="held all 4 classes"):
        kit_plan(EVAR.replace(valid_share=0.04), plan, targets, [""] * 40, 0)


def test_test_clips_validate_a_split_where_the_kit_does_so() -> None:
    targets = Targets("single", ("a", "b"), np.arange(6), np.eye(2, dtype=bool)[[0, 1, 0, 1, 0, 1]])
    rows = np.arange(6)
    plan = Plan("split", (Fold("test", rows[[3, 0]], rows[[1]], rows[[2, 4, 5]]),), "its split; one in 3 validates")
    splits = ["train", "train", "test", "train", "test", "test"]
    marked = for_task(XARES, "fsdkaggle2018")
    made = kit_plan(marked, plan, targets, splits, 0)
    (fold,) = made.folds
    assert (fold.train.tolist(), fold.valid.tolist(), fold.test.tolist()) == ([0, 1, 3], [2, 4, 5], [2, 4, 5])
    assert "test clips themselves select the epoch" in made.description
    assert "validates" not in made.description
    neighbours = kit_plan(for_task(XARES_KNN, "fsdkaggle2018"), plan, targets, splits, 0)
    assert neighbours.folds[0].train.tolist() == [0, 1, 3]
    assert "epoch" not in neighbours.description
    assert kit_plan(XARES, plan, targets, splits, 0) == plan


def test_official_validation_clips_stay() -> None:
    targets = Targets("single", ("a", "b"), np.arange(4), np.eye(2, dtype=bool)[[0, 1, 0, 1]])
    plan = Plan("split", (Fold("test", np.array([0, 1]), np.array([2]), np.array([3])),), "the corpus's own split")
    splits = ["train", "train", "valid", "test"]
    assert all(kit_plan(kit, plan, targets, splits, 0) == plan for kit in (HEAR, EVAR, XARES, SUPERB))


def test_refusals(encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict) -> None:
    corpus = tones(clips=12)
    with pytest.raises(ConfigError, match="no encoder"):
        evaluate_by_protocol([], CARD, corpus, **quick)
    with pytest.raises(ConfigError, match="did you mean 'hear'"):
        evaluate_by_protocol([encoder], CARD, corpus, protocol="heer", **quick)
    with pytest.raises(ConfigError, match="of type retrieval"):
        evaluate_by_protocol([encoder], TaskCard(name="r", rule=RetrievalRule()), corpus, **quick)
    with pytest.raises(ConfigError, match="its own: leave seeds out"):
        evaluate_by_protocol([encoder], CARD, corpus, **{**quick, "config": CONFIG.replace(seeds=2)})
    with pytest.raises(ConfigError, match="activation 'relu'"):
        KitHeadConfig(batch_norm=True, activation="none")
    assert not (quick["out"] / "tokens").exists()
