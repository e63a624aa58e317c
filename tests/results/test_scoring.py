"""Scores of predictions: folds, seeds, sources, comparisons, and what is refused."""

from __future__ import annotations

import importlib
import math
import pkgutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, label_ranking_average_precision_score

import auricle
from auricle.errors import ConfigError, CorpusError
from auricle.results.predictions import _HOMES, TaskPredictions, load_predictions, save_predictions
from auricle.results.scoring import compare_predictions, score
from auricle.tasks.clips.answers import ClipPredictions


def made(
    kind: str = "single", *, clips: int = 60, seeds: int = 2, folds: int = 3, noise: float = 1.0, draw: int = 0
) -> ClipPredictions:
    generator = np.random.default_rng(draw)
    labels = np.random.default_rng(99)
    numbers = labels.integers(0, 4, clips)
    truth = np.eye(4, dtype=bool)[numbers] if kind == "single" else labels.random((clips, 4)) < 0.4
    scores = truth + noise * generator.normal(size=(seeds, clips, 4))
    return ClipPredictions(
        names=np.array([f"clip {i}" for i in range(clips)]),
        group=np.array([f"source {i // 2}" for i in range(clips)]),
        fold=np.arange(clips) % folds,
        seeds=tuple(range(seeds)),
        kind=kind,  # type: ignore[arg-type]
        classes=("a", "b", "c", "d"),
        truth=truth,
        scores=scores.astype(np.float32),
    )


def test_single_label_numbers_match_sklearn() -> None:
    p = made()
    found = score(p, "accuracy")
    each = [accuracy_score(p.numbers, said) for said in p.said]
    assert found.per_seed == pytest.approx(each)
    assert found.value == pytest.approx(np.mean(each))
    assert found.metrics["macro_f1"] == pytest.approx(
        np.mean([f1_score(p.numbers, s, average="macro") for s in p.said])
    )
    by_hand = [[accuracy_score(p.numbers[p.fold == f], s[p.fold == f]) for f in range(3)] for s in p.said]
    np.testing.assert_allclose(found.values, by_hand)
    np.testing.assert_allclose(found.per_fold, np.mean(by_hand, 0))
    assert np.sum(found.detail["confusion"]) == pytest.approx(60)
    assert np.trace(np.array(found.detail["confusion"])) / 60 == pytest.approx(found.value)
    assert found.interval.low < found.value < found.interval.high
    assert "30 test sources" in found.interval.method
    assert found.detail["per_class"]["a"]["clips"] == (p.numbers == 0).sum()


def test_multi_label_numbers_are_means_over_folds() -> None:
    p = made("multi")
    found = score(p, "mAP")
    by_hand = [
        [
            np.mean([average_precision_score(p.truth[p.fold == f, c], s[p.fold == f, c]) for c in range(4)])
            for f in range(3)
        ]
        for s in p.scores
    ]
    np.testing.assert_allclose(found.values, by_hand)
    assert found.value == pytest.approx(np.mean(by_hand))
    lwlrap = [
        label_ranking_average_precision_score(p.truth[rows], s[rows], sample_weight=p.truth[rows].sum(1))
        for rows in ((p.fold == f) & p.truth.any(1) for f in range(3))
        for s in p.scores
    ]
    assert found.metrics.keys() == {"mAP", "macro_auc", "d_prime", "lwlrap"}
    assert found.metrics["lwlrap"] == pytest.approx(np.mean(lwlrap))
    assert found.detail["confusion"] is None
    assert found.detail["per_class"]["b"]["positives"] == p.truth[:, 1].sum()
    assert found.interval.low < found.value < found.interval.high


def test_class_without_positives_is_told_and_does_not_count() -> None:
    p = made("multi")
    truth = p.truth.copy()
    truth[:, 2] = False
    found = score(replace(p, truth=truth), "mAP")
    assert found.detail["per_class"]["c"] == {"ap": None, "positives": 0.0}
    assert math.isfinite(found.value)


@pytest.mark.parametrize("sources", [1, 5])
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_few_sources_have_no_interval_and_no_p_value(kind: str, sources: int) -> None:
    """The unit of inference is the source in both: neither falls back to clips."""
    group = np.array([f"source {i % sources}" for i in range(60)])
    good, bad = (replace(made(kind, noise=noise), group=group) for noise in (0.1, 3.0))
    metric = good.metrics[0]
    found, difference = score(good, metric).interval, compare_predictions(good, bad, metric)
    words = f"too few sources: {sources} of at least 6"
    assert (found.method, difference.interval.method) == (words, words)
    assert not any([found.known, difference.interval.known, difference.clear])
    assert math.isnan(difference.p)
    six = np.array([f"source {i % 6}" for i in range(60)])
    assert score(replace(bad, group=six), metric).interval.known
    # With six sources a test at 99 % could not tell, whatever the outcome.
    assert "6 of at least 8" in score(replace(bad, group=six), metric, confidence=0.99).interval.method


def test_scores_do_not_depend_on_how_draws_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = score(made(), "accuracy").interval
    monkeypatch.setattr("auricle.results.scoring.BLOCK", 60 * 7)
    assert score(made(), "accuracy").interval == whole


def test_comparison_is_paired_and_orders_clips() -> None:
    good, bad = made(noise=0.4), made(noise=1.5, draw=1)
    clear = compare_predictions(good, bad, "accuracy")
    assert clear.clear
    assert clear.value == pytest.approx(score(good, "accuracy").value - score(bad, "accuracy").value)
    mixed = bad.reorder(bad.names[np.random.default_rng(0).permutation(60)])
    assert compare_predictions(good, mixed, "accuracy") == clear
    same = compare_predictions(good, good, "macro_f1")
    assert (same.value, same.clear) == (0.0, False)


def test_comparison_of_other_clips_is_refused() -> None:
    p = made()
    with pytest.raises(CorpusError, match="40 and 60 test units share 40"):
        compare_predictions(p, made(clips=40), "accuracy")
    other = replace(p, truth=np.roll(p.truth, 1, axis=1))
    with pytest.raises(CorpusError, match="differ in the truth"):
        compare_predictions(p, other, "accuracy")
    with pytest.raises(ConfigError, match="does not fit single-label"):
        compare_predictions(p, p, "mAP")
    with pytest.raises(ConfigError, match="does not fit multi-label"):
        score(made("multi"), "accuracy")


def test_predictions_travel_and_damage_is_named(tmp_path: Path) -> None:
    p = made("multi")
    path = tmp_path / "deep" / "p.npz"
    save_predictions(path, p)
    back = load_predictions(path)
    for name in ("names", "fold", "group", "truth", "scores"):
        np.testing.assert_array_equal(getattr(back, name), getattr(p, name))
    assert (back.kind, back.classes, back.seeds) == (p.kind, p.classes, p.seeds)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CorpusError, match="can't be read as predictions"):
        load_predictions(path)
    with pytest.raises(CorpusError, match="can't be read as predictions"):
        load_predictions(tmp_path / "none.npz")


def test_files_of_the_first_version_are_read(tmp_path: Path) -> None:
    """They say `clips` for the names of the units, and do not say of which type they are."""
    p = made()
    held = p.arrays()
    np.savez(tmp_path / "old.npz", clips=held.pop("names"), **held)
    back = load_predictions(tmp_path / "old.npz")
    assert isinstance(back, ClipPredictions)
    np.testing.assert_array_equal(back.names, p.names)
    np.testing.assert_array_equal(back.scores, p.scores)


def test_a_file_is_read_before_its_type_is_imported(tmp_path: Path) -> None:
    save_predictions(tmp_path / "p.npz", made())
    program = (
        "import sys; from pathlib import Path; from auricle.results.predictions import load_predictions; "
        "assert 'auricle.tasks.clips.answers' not in sys.modules; "
        "print(load_predictions(Path(sys.argv[1])).type_name)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "p.npz")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "clips"


def test_every_type_of_task_has_a_home() -> None:
    for found in pkgutil.walk_packages(auricle.__path__, "auricle."):
        if found.name.startswith(("auricle.tasks.", "auricle.evaluation.")):
            importlib.import_module(found.name)
    homes = {name: cls.__module__ for name, cls in TaskPredictions._known.items()}
    assert {name: home for name, home in homes.items() if home.startswith("auricle.")} == _HOMES


def test_shapes_and_values_are_checked() -> None:
    p = made()
    with pytest.raises(CorpusError, match="scores of shape"):
        replace(p, scores=p.scores[:, :, :3])
    with pytest.raises(CorpusError, match="scores has 5 entries for 60 clips"):
        replace(p, scores=p.scores[:, :5])
    with pytest.raises(CorpusError, match="fold has 5 entries for 60 clips"):
        replace(p, fold=p.fold[:5])
    with pytest.raises(ConfigError, match="numbers in scores are not finite"):
        replace(p, scores=np.full_like(p.scores, np.nan))
