"""A study: a declared grid of cells, done over as many sittings as it takes, and what follows from it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from auricle.config import Config, Count, nearest
from auricle.errors import ConfigError, StudyError
from auricle.results.export import to_csv, to_latex, to_markdown
from auricle.results.tables import Sheet
from auricle.storage import write_atomic, write_record
from auricle.studies.budget import Budget
from auricle.studies.cells import Cell, Place
from auricle.studies.engine import State, Store, do_cells, read_sealed, shard_of
from auricle.studies.statement import Statement, sheet
from auricle.training.lock import RunLock
from auricle.words import counted

DECLARED = "study.json"


@dataclass(frozen=True)
class StudyConfig(Config, section="study"):
    """Settings of a study's grid.

    Attributes:
        budget: of each pre-training.
        seeds: pre-trainings of each pair.
    """

    budget: Budget = field(default_factory=Budget)
    seeds: Count = 3


@dataclass(frozen=True)
class Book:
    """What is known of a grid.

    Attributes:
        results: what each done cell found.
        states: of all cells.
        failures: why cells failed.
    """

    results: dict[Cell, dict[str, Any]]
    states: dict[Cell, State]
    failures: dict[Cell, str]

    @property
    def complete(self) -> bool:
        """Whether no cell is left to do."""
        return "open" not in self.states.values()

    @property
    def count(self) -> str:
        """How far the grid is, in words: `12 of 40 cells done, 2 refused by a contract, 1 failed`."""
        by = Counter(self.states.values())
        words = {"refused": "refused by a contract", "blocked": "without the cell that they need"}
        more = [f"{by[state]} {words.get(state, state)}" for state in ("refused", "blocked", "failed") if by[state]]
        return ", ".join([f"{by['done']} of {counted(len(self.states), 'cell')} done", *more])


@dataclass(frozen=True)
class Conclusion:
    """What follows from a grid.

    Attributes:
        statements: each with its verdict.
        sheets: tables.
    """

    statements: tuple[Statement, ...]
    sheets: tuple[Sheet, ...]


class Study(ABC):
    """Base of all studies. Its cells are declared before any is done; what it concludes is made of those that are.

    Attributes:
        name: on the command line.
        summary: the question, in one line.
        defaults: settings of its grid.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    defaults: ClassVar[StudyConfig] = StudyConfig()

    @abstractmethod
    def cells(self, config: StudyConfig) -> Sequence[Cell]:
        """Return the grid in the order in which it is done: a cell stands behind those that it needs.

        Every beginning of the grid should be a balanced design, so that a first answer exists early.
        """

    @abstractmethod
    def conclude(self, book: Book) -> Conclusion:
        """Return what follows from the cells that are done."""


_KNOWN: dict[str, Study] = {}


def register_study(study: Study) -> None:
    """Add a study, for example from a plug-in, so that `auricle study` runs it by its name.

    Raises:
        ConfigError: another study has this name.
    """
    if _KNOWN.get(study.name, study) is not study:
        raise ConfigError(f"two studies are named {study.name!r}; rename one")
    _KNOWN[study.name] = study


def studies() -> dict[str, Study]:
    """Return the studies by name."""
    return dict(_KNOWN)


def get_study(name: str) -> Study:
    """Return a study by its name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _KNOWN:
        raise ConfigError(f"there is no study {name!r}{nearest(name, _KNOWN)}")
    return _KNOWN[name]


def run_study(
    study: str | Study,
    data: str | Path,
    out: str | Path,
    *,
    config: StudyConfig | None = None,
    shard: tuple[int, int] = (1, 1),
    minutes: float | None = None,
    limit: float | None = None,
    retry: bool = False,
    collect: Sequence[str | Path] = (),
    device: str = "cpu",
    precision: str = "fp32",
    say: Callable[[str], None] = print,
) -> Book:
    """Run a study, continuing where it stopped, and write what follows from it into `out/NAME`.

    Cells are kept in `out/cells`, and any study with this folder finds those that it shares with another.

    Args:
        study: a study, or its name.
        data: a folder of corpora, each in a folder of its own.
        out: folder of the study; another process may work there on another shard.
        config: settings of the grid; None: those of the study.
        shard: `(i, n)`: the i-th of n equal parts, for several machines on one folder.
        minutes: begin no cell after this time; the next call continues. None: until all are done.
        limit: minutes after which a cell has failed; None: none.
        retry: try failed cells again.
        collect: `cells.jsonl` of the same study on other machines, whose results are taken over.
        device: where encoders are trained and evaluated.
        precision: of evaluated encoders (`fp32`, `bf16`, `auto`); pre-trainings have that of their recipe.
        say: called with a line about every cell.

    Returns:
        What is known of the whole grid.

    Raises:
        StudyError: the folder holds this study with other settings, or the shard names no part.
        CheckpointError: another process does this very part.
        StorageError: the disk is full.

    Examples:
        >>> import auricle
        >>> book = auricle.run_study("methods", "corpora", "studies", minutes=30)  # doctest: +SKIP
    """
    study = get_study(study) if isinstance(study, str) else study
    config = study.defaults if config is None else config
    store = Store(Place(str(data), Path(out), device, precision))
    cells = list(study.cells(config))
    mine, home = shard_of(cells, shard), Path(out) / study.name
    with RunLock(home / f"shard-{shard[0]}-of-{shard[1]}", f"study {study.name}, which another process runs"):
        declare(home, study, config)
        for file in collect:
            say(f"{counted(store.collect(Path(file), cells), 'result')} taken from {file}")
        if retry:
            say(f"{counted(store.retry(mine), 'failed cell')} will be tried again")
        until = None if minutes is None else time.monotonic() + 60 * minutes
        do_cells(store, mine, until=until, limit=limit, say=say)
    book = read_book(store, cells)
    write_conclusion(home, study.conclude(book), book)
    write_atomic(home / "cells.jsonl", store.export(cells))
    return book


def declare(home: Path, study: Study, config: StudyConfig) -> None:
    """Keep a study's settings in its folder, or refuse others than those that it was begun with.

    Raises:
        StudyError: naming the difference.
    """
    path = home / DECLARED
    held = read_sealed(path)
    mine: dict[str, Any] = {"study": study.name, "config": config.to_json()}
    if held is None:
        write_record(path, mine)
    elif held != mine:
        raise StudyError(
            f"{home} was begun with {_settings(held['config'])}, and now {_settings(mine['config'])} are asked for; "
            "take the same, or another --out: cells of other settings would mix in its tables"
        )


def _settings(config: dict[str, Any]) -> str:
    return f"{Budget.from_json(config['budget']).words} a pre-training and {counted(config['seeds'], 'seed')}"


def read_book(store: Store, cells: Sequence[Cell]) -> Book:
    """Return what is known of cells."""
    results = {cell: found for cell in cells if (found := store.result(cell)) is not None}
    failures = {cell: why for cell in cells if (why := store.failure(cell)) is not None}
    return Book(results, {cell: store.state(cell) for cell in cells}, failures)


def write_conclusion(home: Path, conclusion: Conclusion, book: Book) -> list[Sheet]:
    """Write `study.md`, `study.tex`, `study.csv` and `statements.json` of what is known, and return the tables."""
    sheets = [*([sheet(conclusion.statements)] if conclusion.statements else []), *conclusion.sheets]
    failed = tuple((cell.title, why) for cell, why in book.failures.items())
    if failed:
        sheets.append(Sheet("Failed cells", ("cell", "why"), failed))
    refused = tuple((cell.title, found["refused"]) for cell, found in book.results.items() if "refused" in found)
    if refused:
        sheets.append(Sheet("Refused by a contract", ("cell", "why"), refused))
    if not sheets:
        return []
    write_record(
        home / "statements.json", {"cells": book.count, "statements": [s.to_json() for s in conclusion.statements]}
    )
    for ending, text in (("md", to_markdown(sheets)), ("tex", to_latex(sheets)), ("csv", to_csv(sheets))):
        write_atomic(home / f"study.{ending}", text.encode())
    return sheets


def plan_text(store: Store, cells: Sequence[Cell]) -> list[str]:
    """Return what a study would do, in lines: each cell with its state, the time that is left, disk and memory."""
    lines = [f"{store.state(cell):8} {cell.title}" for cell in cells]
    peaks = [found["peak_mb"] for cell in cells if (found := store.result(cell)) and found.get("peak_mb")]
    memory = f"{max(peaks):,.0f} MB at most so far" if peaks else "not known before the first cell"
    left = store.seconds(cells) / 3600
    open_cells = sum(store.state(cell) == "open" for cell in cells)
    return [*lines, f"{counted(open_cells, 'cell')} to do: about {left:.1f} h of one process; memory: {memory}"]
