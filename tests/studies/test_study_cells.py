"""Cells on real audio: a pre-training for a budget, its evaluation beside random weights, and what the tables say."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from auricle.errors import ConfigError, CorpusError
from auricle.recipes import get_recipe
from auricle.studies import budget, methods
from auricle.studies.budget import Budget, fit_steps, stages
from auricle.studies.cells import Cell, Diet, Evaluated, Place, Pretraining
from auricle.studies.engine import Store, do_cells
from auricle.studies.methods import Methods, Signal
from auricle.studies.study import StudyConfig, read_book, studies

CLIPS = Budget(minutes=None, clips=1)
DRUMS = Diet(only=("drum_oneshots",))


def quiet(line: str) -> None:
    return None


def test_a_budget_is_time_or_clips() -> None:
    for wrong in ({"minutes": None}, {"minutes": 1.0, "clips": 5}):
        with pytest.raises(ConfigError, match="minutes or clips, and not both"):
            Budget(**wrong)
    assert Budget(minutes=None, clips=200_000).words == "200,000 clips"
    assert Budget(2.5).words == "2.5 min of a processor"


def test_the_grid_of_methods_is_declared_and_refers_to_what_exists() -> None:
    grid = Methods().cells(StudyConfig(Budget(5.0), seeds=3))
    assert len(set(grid)) == len(grid)
    behind: set[Cell] = set()
    for cell in grid:
        assert set(cell.needs) <= behind, cell.title
        behind.add(cell)
    trained = [cell for cell in grid if isinstance(cell, Pretraining)]
    assert {cell.method for cell in trained} == set(methods.METHODS)
    assert sum(cell.encoder == "own" and cell.seed == 0 for cell in trained) == len(methods.METHODS)
    assert {cell.method for cell in trained if cell.seed} == set(methods.SEEDED)
    # Nothing that is scored by a kept corpus is seen in pre-training.
    assert all(cell.diet.exclude == methods.KEPT or cell.diet == methods.TITLED for cell in trained)
    assert studies()["methods"].name == "methods"


def test_other_settings_are_other_cells() -> None:
    one = Pretraining("cola", budget=CLIPS)
    assert one == Pretraining("cola", budget=Budget(minutes=None, clips=1))
    others = [
        one.replace(seed=1),
        one.replace(encoder="resnet"),
        one.replace(budget=Budget(1.0)),
        one.replace(diet=DRUMS),
    ]
    assert len({one, *others}) == 5


@pytest.mark.real
def test_a_corpus_that_is_missing_is_said(shared_audio: Path, tmp_path: Path) -> None:
    store = Store(Place(str(shared_audio), tmp_path))
    with pytest.raises(CorpusError, match=r"no folder or file .*birds"):
        store.state(Pretraining("cola", diet=Diet(only=("birds",)), budget=CLIPS))


@pytest.mark.real
def test_steps_are_fitted_to_processor_time(
    shared_audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, recipe = DRUMS.open(str(shared_audio)), get_recipe("apc", "tiny")
    monkeypatch.setattr(budget, "_LEAST_SECONDS", 0.5)
    before = time.process_time()
    step = budget.seconds_a_step(recipe, corpus, 1)
    assert 0 < step < time.process_time() - before
    monkeypatch.setattr(budget, "seconds_a_step", lambda *of: 0.5)
    fit = budget.fit_steps(recipe, corpus, Budget(minutes=5.0), seed=2)
    assert fit.train.steps == 600
    assert (fit.train.seed, fit.train.threads) == (recipe.train.seed + 2, 1)
    assert fit.train.warmup_steps <= 600 / 5
    # At half of the fastest speed a step takes twice as long, and as many fit.
    monkeypatch.setattr(budget, "pace", lambda *of: 0.5)
    assert budget.fit_steps(recipe, corpus, Budget(minutes=5.0), seed=2, speeds=tmp_path).train.steps == 1200


def test_the_fastest_speed_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, clock = tmp_path / "speed.json", iter([0.0, 2.0, 10.0, 11.0, 20.0, 24.0])
    monkeypatch.setattr(budget.time, "process_time", lambda: next(clock))
    assert [budget.pace(file, 1) for _ in range(3)] == [1.0, 1.0, 0.25]


@pytest.mark.real
def test_stages_share_a_budget_of_clips(shared_audio: Path) -> None:
    recipe = get_recipe("beats", "tiny")
    fit = fit_steps(recipe, DRUMS.open(str(shared_audio)), Budget(minutes=None, clips=30_000), seed=0)
    every = stages(fit)
    assert len(every) == len(stages(recipe)) > 1
    assert [part.train.steps for part in every] == [30_000 // (part.loader.batch * len(every)) for part in every]


@pytest.mark.real
def test_a_refused_pair_is_no_failure(shared_audio: Path, tmp_path: Path) -> None:
    store = Store(Place(str(shared_audio), tmp_path))
    pair = Pretraining("audio-mae", "resnet", diet=DRUMS, budget=CLIPS)
    assert do_cells(store, [pair, Evaluated("drum_oneshots", pair)], say=quiet) == {
        pair: "refused", Evaluated("drum_oneshots", pair): "blocked",
    }  # fmt: skip
    assert "which ResNet does not offer" in store.result(pair)["refused"]  # type: ignore[index]


class Small(Methods):
    """The study of methods on one method and one small task."""

    def cells(self, config: StudyConfig) -> Sequence[Cell]:
        trained = Pretraining("cola", diet=DRUMS, budget=config.budget)
        tasks = [Evaluated("piano_pitch_class", baseline="log-mel"), Evaluated("piano_pitch_class", trained)]
        return [tasks[0], trained, Signal(trained, ("drum_oneshots",)), tasks[1]]


@pytest.mark.real
def test_a_pre_training_is_evaluated_beside_its_random_weights(shared_audio: Path, tmp_path: Path) -> None:
    store = Store(Place(str(shared_audio), tmp_path))
    study = Small()
    cells = list(study.cells(StudyConfig(CLIPS)))
    assert set(do_cells(store, cells, say=quiet).values()) == {"done"}
    book = read_book(store, cells)
    baseline, trained, own, scored = (book.results[cell] for cell in cells)
    assert trained["steps"] == [20]
    assert trained["clips"] == 20 * 64
    assert own["signal"]["own"]["chance"] == pytest.approx(1 / 64)
    assert set(scored["probes"]["linear"]) == {"encoder", "random", "gain"}
    numbers = scored["probes"]["linear"]
    assert numbers["gain"]["value"] == pytest.approx(numbers["encoder"]["value"] - numbers["random"]["value"])
    assert set(baseline["probes"]["linear"]) == {"encoder"}
    assert not list((tmp_path / "cells").glob("*/tokens"))
    # Its results are those of `auricle results`, beside each other.
    assert (tmp_path / scored["results"]).is_file()
    sheets = {made.title: made for made in study.conclude(book).sheets}
    assert sheets["Cost"].rows[0][0] == "cola on own, seed 0"
    (row,) = (row for row in sheets["piano_pitch_class (accuracy)"].rows if row[0].startswith("cola"))
    assert row[3].startswith(("+", "-"))
    # Another seed of the same pair is another cell; the same one is known.
    again = Store(Place(str(shared_audio), tmp_path))
    assert set(do_cells(again, cells, say=pytest.fail).values()) == {"done"}
    other = dataclasses.replace(cells[1], seed=1)  # type: ignore[type-var]
    assert again.state(other) == "open"
