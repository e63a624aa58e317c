"""The engine of studies: do the cells of a grid, each once, whatever stops it in between."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from auricle.errors import AuricleError, CheckpointError, StorageError, StudyError, Terminated
from auricle.storage import sealed, unseal, write_record
from auricle.studies.cells import Cell, Place
from auricle.training.lock import RunLock

State = Literal["done", "refused", "failed", "blocked", "open"]
RESULT, FAILURE, TRIES = "result.json", "failure.json", "tries.json"
# A cell that was begun so often and neither ended nor failed has killed its process each time.
_TRIES = 3
# Cells of a kind that none is done of yet, in minutes: for the first estimate only.
_GUESS = 2.0


@dataclass
class Store:
    """The cells on disk, one folder each below `out/cells`; several studies and processes may share it.

    Attributes:
        place: data, folder and device.
    """

    place: Place

    def folder(self, cell: Cell) -> Path:
        """Return the folder of a cell."""
        return self.place.folder(cell)

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return what a cell found; None: it is not done.

        Raises:
            CheckpointError: its file is damaged.
        """
        return read_sealed(self.folder(cell) / RESULT)

    def failure(self, cell: Cell) -> str | None:
        """Return why a cell failed; None: it did not."""
        found = read_sealed(self.folder(cell) / FAILURE)
        return None if found is None else str(found["why"])

    def state(self, cell: Cell) -> State:
        """Return how far a cell is; `blocked`: what it needs was refused or failed."""
        found = self.result(cell)
        if found is not None:
            return "refused" if "refused" in found else "done"
        if self.failure(cell) is not None:
            return "failed"
        return "blocked" if any(self.state(need) not in ("done", "open") for need in cell.needs) else "open"

    def retry(self, cells: Sequence[Cell]) -> int:
        """Forget the failures of cells, so that they are tried again; return how many there were."""
        failed = [cell for cell in cells if self.failure(cell) is not None]
        for cell in failed:
            (self.folder(cell) / FAILURE).unlink()
            (self.folder(cell) / TRIES).unlink(missing_ok=True)
        return len(failed)

    def do(self, cell: Cell, limit: float | None = None) -> State:
        """Do a cell; an error is kept as its failure and does not stop the others.

        Args:
            cell: an open one, whose needs are done.
            limit: minutes after which it has failed; None: none.

        Raises:
            CheckpointError: another process is doing it.
            StorageError: the disk is full; nothing is kept.
            KeyboardInterrupt: stopped; the cell continues the next time.
        """
        folder = self.folder(cell)
        with RunLock(folder, f"the cell {cell.title!r}, which another process is doing"):
            state = self.state(cell)
            if state != "open":
                return state
            tries = 1 + int((read_sealed(folder / TRIES) or {"tries": 0})["tries"])
            if tries > _TRIES:
                return self._fail(cell, f"its process ended {_TRIES} times without a result: killed, or out of memory?")
            write_record(folder / TRIES, {"tries": tries})
            began, used = time.perf_counter(), _reset_peak()
            try:
                with _alarm(limit):
                    found = cell.run(self.place, folder)
            except (KeyboardInterrupt, Terminated, StorageError):
                # Stopped by the user, or by a full disk: no fault of the cell.
                write_record(folder / TRIES, {"tries": tries - 1})
                raise
            except AuricleError as error:
                return self._fail(cell, str(error))
            except MemoryError:
                return self._fail(cell, "out of memory")
            except Exception as error:  # a defect of one pair must not stop a night of others
                return self._fail(cell, f"{type(error).__name__}: {error}", traceback.format_exc())
            record = {"title": cell.title, **found}
            record |= {"wall_minutes": (time.perf_counter() - began) / 60, "peak_mb": _peak(used)}
            write_record(folder / RESULT, record)
            return "refused" if "refused" in found else "done"

    def _fail(self, cell: Cell, why: str, trace: str = "") -> State:
        write_record(self.folder(cell) / FAILURE, {"title": cell.title, "why": why, "trace": trace})
        return "failed"

    def export(self, cells: Sequence[Cell]) -> bytes:
        """Return what is known of cells as JSON lines, for `collect` on another machine."""
        held = ((self.folder(cell).name, self.result(cell)) for cell in dict.fromkeys(cells))
        lines = (sealed({"name": name, "result": found}) for name, found in held if found is not None)
        return "".join(f"{line}\n" for line in lines).encode()

    def collect(self, file: Path, cells: Sequence[Cell]) -> int:
        """Take results of `export` for cells that are not done here; return how many there were.

        A result made of other audio or settings has another name and is not taken.

        Raises:
            StudyError: there is no such file, or it is damaged.
        """
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise StudyError(f"{file} can't be read ({error.strerror}); expected a cells.jsonl of a study") from error
        by_name = {self.folder(cell).name: cell for cell in cells}
        taken = 0
        for number, line in enumerate(lines, 1):
            try:
                held = unseal(line)
                name, found = held["name"], held["result"]
            except (ValueError, KeyError) as error:
                raise StudyError(f"line {number} of {file} is damaged ({error}); export the study again") from error
            cell = by_name.get(name)
            if cell is not None and self.result(cell) is None:
                write_record(self.folder(cell) / RESULT, found)
                taken += 1
        return taken

    def seconds(self, cells: Sequence[Cell]) -> float:
        """Estimate the time of open cells, from their plan and from those of their kind that are done."""
        done: dict[type[Cell], list[float]] = {}
        for cell in cells:
            found = self.result(cell)
            if found is not None and "refused" not in found:
                done.setdefault(type(cell), []).append(float(found["wall_minutes"]))
        total = 0.0
        for cell in cells:
            if self.state(cell) == "open":
                known = done.get(type(cell))
                total += mean(known) if known else (cell.minutes or _GUESS)
        return 60 * total


def shard_of(cells: Sequence[Cell], shard: tuple[int, int]) -> list[Cell]:
    """Return the i-th of n parts of a grid, i from 1: cells that need each other stay together.

    Raises:
        StudyError: i is not among 1 to n.
    """
    i, n = shard
    if not 1 <= i <= n:
        raise StudyError(f"--shard {i}/{n} names no part; expected 1/{n} to {n}/{n}")
    roots = list(dict.fromkeys(_root(cell) for cell in cells))
    mine = {root for place, root in enumerate(roots) if place % n == i - 1}
    return [cell for cell in cells if _root(cell) in mine]


def _root(cell: Cell) -> Cell:
    return cell if not cell.needs else _root(cell.needs[0])


def do_cells(
    store: Store,
    cells: Sequence[Cell],
    *,
    until: float | None = None,
    limit: float | None = None,
    say: Any = print,
) -> dict[Cell, State]:
    """Do the open cells of a grid in their order, and return the state of each.

    Args:
        store: where they are kept.
        cells: a cell stands behind those that it needs.
        until: no cell is begun after this time of `time.monotonic`; None: no end.
        limit: minutes after which a cell has failed; None: none.
        say: called with a line about every cell.

    Raises:
        StorageError: the disk is full.
        KeyboardInterrupt: stopped.
    """
    elsewhere: list[Cell] = []
    for number, cell in enumerate(cells, 1):
        if store.state(cell) != "open" or any(store.state(need) == "open" for need in cell.needs):
            continue
        if until is not None and time.monotonic() >= until:
            break
        began = time.perf_counter()
        try:
            state = store.do(cell, limit)
        except CheckpointError as error:
            elsewhere.append(cell)
            say(f"{number}/{len(cells)} {cell.title}: {error}")
            continue
        why = f": {store.failure(cell)}" if state == "failed" else ""
        left = store.seconds(cells)
        say(
            f"{number}/{len(cells)} {cell.title}: {state}{why} after {(time.perf_counter() - began) / 60:.1f} min; "
            f"about {_hours(left)} left"
        )
    return {cell: store.state(cell) for cell in cells}


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return a record of a study's folder; None: there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return unseal(text)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it, and the cell is done again") from error


@contextmanager
def _alarm(minutes: float | None) -> Iterator[None]:
    """Raise `StudyError` in the main thread when the time is over; without a limit, or elsewhere, do nothing."""
    if minutes is None or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise StudyError(f"not finished within its limit of {minutes:g} minutes")

    try:
        before = signal.signal(signal.SIGALRM, ring)
    except ValueError:  # not the main thread
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reset_peak() -> bool:
    """Begin to measure the peak memory of this process anew, where the system can (Linux); return whether it can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak(known: bool) -> float | None:
    """Return the peak memory in MB since `_reset_peak`; None: not known."""
    if not known:
        return None
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)
