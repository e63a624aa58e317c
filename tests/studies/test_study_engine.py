"""Cells are done once, whatever stops a study; what fails is kept with its reason and stops nothing else."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auricle.errors import CheckpointError, StorageError, StudyError
from auricle.studies.budget import Budget
from auricle.studies.cells import Cell, Place
from auricle.studies.engine import RESULT, TRIES, Store, do_cells, shard_of
from auricle.studies.statement import decide
from auricle.studies.study import Book, Conclusion, Study, StudyConfig, plan_text, run_study

RAN: list[str] = []
CONFIG = StudyConfig(Budget(minutes=None, clips=10), seeds=2)


@dataclass(frozen=True)
class Toy(Cell):
    """A cell that does what its word says."""

    word: str
    after: tuple[Cell, ...] = ()

    @property
    def title(self) -> str:
        return self.word

    @property
    def needs(self) -> tuple[Cell, ...]:
        return self.after

    def facts(self, place: Place) -> dict[str, Any]:
        return {"word": self.word}

    def run(self, place: Place, folder: Path) -> dict[str, Any]:
        RAN.append(self.word)
        if self.word.startswith("defect"):
            raise ZeroDivisionError("no such number")
        if self.word.startswith("refused"):
            return {"refused": "a need is not met"}
        if self.word.startswith("stopped"):
            raise KeyboardInterrupt
        if self.word.startswith("full"):
            raise StorageError("the disk is full")
        if self.word.startswith("endless"):
            while True:
                time.sleep(0.01)
        if self.word.startswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.word.startswith("slow"):
            (folder / "begun").write_text("")
            time.sleep(30)
        return {"value": len(self.word)}


class Toys(Study):
    name = "toys"
    summary = "do toys work?"

    def __init__(self, *cells: Cell) -> None:
        self.grid = cells

    def cells(self, config: StudyConfig) -> Sequence[Cell]:
        return self.grid

    def conclude(self, book: Book) -> Conclusion:
        values = [found["value"] for found in book.results.values() if "value" in found]
        return Conclusion((decide("toys work", "here", "letters", values, "toys"),), ())


@pytest.fixture(autouse=True)
def _forget() -> None:
    RAN.clear()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Place("", tmp_path))


def quiet(line: str) -> None:
    return None


def test_a_cell_is_done_once(store: Store) -> None:
    cells = [Toy("a"), Toy("bb"), Toy("a")]
    assert set(do_cells(store, cells, say=quiet).values()) == {"done"}
    do_cells(store, cells, say=quiet)
    assert RAN == ["a", "bb"]
    assert store.result(cells[1])["value"] == 2  # type: ignore[index]


def test_another_study_with_the_folder_finds_them(tmp_path: Path) -> None:
    run_study(Toys(Toy("a"), Toy("bb")), "", tmp_path, config=CONFIG, say=quiet)

    class Others(Toys):
        name = "others"

    run_study(Others(Toy("bb"), Toy("ccc")), "", tmp_path, config=CONFIG, say=quiet)
    assert RAN == ["a", "bb", "ccc"]


def test_failures_stop_nothing_else_and_are_said(tmp_path: Path) -> None:
    lines: list[str] = []
    bad = Toy("defect")
    book = run_study(Toys(bad, Toy("after", (bad,)), Toy("c")), "", tmp_path, config=CONFIG, say=lines.append)
    assert [book.states[cell] for cell in book.states] == ["failed", "blocked", "done"]
    assert book.count == "1 of 3 cells done, 1 without the cell that they need, 1 failed"
    assert book.complete
    assert "ZeroDivisionError: no such number" in lines[0]
    page = (tmp_path / "toys" / "study.md").read_text()
    assert "Failed cells" in page
    assert "ZeroDivisionError: no such number" in page
    # Only `retry` tries again.
    run_study(Toys(bad), "", tmp_path, config=CONFIG, say=quiet)
    assert RAN.count("defect") == 1
    run_study(Toys(bad), "", tmp_path, config=CONFIG, retry=True, say=quiet)
    assert RAN.count("defect") == 2


def test_a_refused_pair_is_a_result_with_its_reason(tmp_path: Path) -> None:
    pair = Toy("refused")
    book = run_study(Toys(pair, Toy("after", (pair,))), "", tmp_path, config=CONFIG, say=quiet)
    assert list(book.states.values()) == ["refused", "blocked"]
    assert "a need is not met" in (tmp_path / "toys" / "study.md").read_text()


def test_ctrl_c_and_a_full_disk_are_no_faults_of_a_cell(store: Store) -> None:
    for word, error in (("stopped", KeyboardInterrupt), ("full", StorageError)):
        for _ in range(5):
            with pytest.raises(error):
                store.do(Toy(word))
        assert store.state(Toy(word)) == "open"


def test_a_cell_that_never_ends_fails_at_its_limit(store: Store) -> None:
    began = time.monotonic()
    states = do_cells(store, [Toy("endless"), Toy("next")], limit=0.02, say=quiet)
    assert list(states.values()) == ["failed", "done"]
    assert store.failure(Toy("endless")) == "not finished within its limit of 0.02 minutes"
    assert time.monotonic() - began < 60


def test_a_cell_that_kills_its_process_fails_in_the_end(tmp_path: Path) -> None:
    def work() -> None:
        do_cells(Store(Place("", tmp_path)), [Toy("killed"), Toy("next")], say=quiet)

    context = multiprocessing.get_context("fork")
    for _ in range(4):
        process = context.Process(target=work)
        process.start()
        process.join()
    store = Store(Place("", tmp_path))
    assert store.state(Toy("next")) == "done"
    assert "its process ended 3 times without a result" in str(store.failure(Toy("killed")))


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    slow, quick = Toy("slow"), Toy("quick")
    store = Store(Place("", tmp_path))
    process = multiprocessing.get_context("fork").Process(target=lambda: store.do(slow))
    process.start()
    try:
        while not (store.folder(slow) / "begun").exists():
            time.sleep(0.01)
        lines: list[str] = []
        states = do_cells(store, [slow, quick], say=lines.append)
        assert states == {slow: "open", quick: "done"}
        assert "which another process is doing" in lines[0]
        with pytest.raises(CheckpointError, match="another process is doing"):
            store.do(slow)
    finally:
        process.kill()
        process.join()
    # Killed in the middle: it is free again, and was one try.
    assert store.state(slow) == "open"
    assert json.loads((store.folder(slow) / TRIES).read_text())["tries"] == 1


def test_shards_divide_a_grid_and_keep_together_what_needs_each_other() -> None:
    first, second = Toy("a"), Toy("b")
    cells = [first, Toy("a1", (first,)), second, Toy("b1", (second,)), Toy("c")]
    parts = [shard_of(cells, (i, 2)) for i in (1, 2)]
    assert parts == [[cells[0], cells[1], cells[4]], [cells[2], cells[3]]]
    with pytest.raises(StudyError, match="3/2 names no part; expected 1/2 to 2/2"):
        shard_of(cells, (3, 2))


def test_shards_end_in_the_tables_of_one_process(tmp_path: Path) -> None:
    study = Toys(*(Toy("x" * n) for n in range(1, 6)))
    one = run_study(study, "", tmp_path / "one", config=CONFIG, say=quiet)
    for i in (1, 2):
        parts = run_study(study, "", tmp_path / "two", config=CONFIG, shard=(i, 2), say=quiet)
    assert parts.states == one.states
    for name in ("study.md", "study.csv"):
        assert (tmp_path / "one" / "toys" / name).read_text() == (tmp_path / "two" / "toys" / name).read_text()


def test_other_settings_in_one_folder_are_refused(tmp_path: Path) -> None:
    study = Toys(Toy("a"))
    run_study(study, "", tmp_path, config=CONFIG, say=quiet)
    with pytest.raises(
        StudyError, match="begun with 10 clips a pre-training and 2 seeds, and now 30 min of a processor"
    ):
        run_study(study, "", tmp_path, config=StudyConfig(Budget(30.0), seeds=2), say=quiet)


def test_no_cell_begins_after_the_time(tmp_path: Path) -> None:
    study = Toys(Toy("a"), Toy("b"))
    book = run_study(study, "", tmp_path, config=CONFIG, minutes=1e-9, say=quiet)
    assert not book.complete
    assert run_study(study, "", tmp_path, config=CONFIG, say=quiet).complete


def test_a_damaged_result_is_named(store: Store) -> None:
    store.do(Toy("a"))
    path = store.folder(Toy("a")) / RESULT
    path.write_text(path.read_text().replace('"value": 1', '"value": 2'))
    with pytest.raises(CheckpointError, match=r"result\.json is damaged.*delete it, and the cell is done again"):
        store.state(Toy("a"))
    path.unlink()
    assert do_cells(store, [Toy("a")], say=quiet) == {Toy("a"): "done"}


def test_the_plan_names_cells_hours_and_memory(store: Store) -> None:
    cells = [Toy("a"), Toy("defect"), Toy("b")]
    do_cells(store, cells[:2], say=quiet)
    lines = plan_text(store, cells)
    assert lines[:3] == ["done     a", "failed   defect", "open     b"]
    assert lines[3].startswith("1 cell to do: about 0.0 h of one process; memory:")


def test_results_of_another_machine_are_taken_over(tmp_path: Path) -> None:
    study = Toys(Toy("a"), Toy("bb"), Toy("refused"))
    run_study(study, "", tmp_path / "one", config=CONFIG, shard=(1, 2), say=quiet)
    file = tmp_path / "one" / "toys" / "cells.jsonl"
    lines: list[str] = []
    run_study(study, "", tmp_path / "two", config=CONFIG, shard=(2, 2), collect=[file], say=lines.append)
    assert lines[0] == f"2 results taken from {file}"
    assert RAN == ["a", "refused", "bb"]
    file.write_text(file.read_text().replace('"value": 1', '"value": 7'))
    with pytest.raises(StudyError, match=r"line 1 of .*cells\.jsonl is damaged"):
        run_study(study, "", tmp_path / "three", config=CONFIG, collect=[file], say=quiet)
    with pytest.raises(StudyError, match=r"expected a cells\.jsonl of a study"):
        run_study(study, "", tmp_path / "three", config=CONFIG, collect=[tmp_path / "none"], say=quiet)
