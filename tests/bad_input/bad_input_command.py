"""The command `auricle` as the tests of bad input run it, and a disk that is full."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from auricle.cli import main

TINY = [
    "--loader.batch", "8", "--loader.workers", "0", "--loader.sampling", "clip",
    "--train.steps", "3", "--train.warmup-steps", "1", "--train.log-every", "1", "--train.threads", "1",
    "--train.save-every", "2", "--train.precision", "fp32",
    "--encoder.depth", "2", "--encoder.width", "48", "--encoder.frames", "64", "--window.seconds", "0.64",
]  # fmt: skip
SEARCH = ["--no-controls", "--seeds", "1", "--search.epochs", "2", "--search.lr-count", "2"]
QUICK = ["--probes", "linear", *SEARCH]


class Command:
    """Runs `auricle` and keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.capsys, self.folder = capsys, folder
        self.out = self.err = ""

    def __call__(self, *words: object) -> int:
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def refused(self, *words: object) -> str:
        """The one message of a command that can't go on."""
        assert self(*words) == 2, self.out
        lines = [line for line in self.err.splitlines() if line.startswith("auricle: ")]
        assert len(lines) == 1, self.err
        return self.err[self.err.index("auricle: ") :]

    def probe(self, data: Path, *words: object, task: str = "folder", encoder: str = "Bands") -> list[str]:
        """The words of a probe whose results go to `out/TASK`."""
        out = self.folder / "out" / task
        return [str(w) for w in ("probe", f"bad_input_encoders:{encoder}", "--task", task, "--data", data, "--out", out,
                                 *SEARCH, *words)]  # fmt: skip

    def results(self, task: str = "folder") -> dict[str, dict[str, Any]]:
        """The records by probe."""
        lines = (self.folder / "out" / task / "results.jsonl").read_text(encoding="utf-8").splitlines()
        return {record["probe"]: record for record in map(json.loads, lines)}

    def table(self) -> str:
        """What was printed, on one line."""
        return " ".join(self.out.split())


def noted(record: dict[str, Any], text: str) -> str:
    """The one note with this text."""
    (note,) = [note for note in record["notes"] if text in note]
    return str(note)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow past `room` bytes: the system refuses each further write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FullDisk:
    """While `full`, no file whose path holds `name` may be forced to the disk or moved into place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.full, self.name = True, name
        self.hits = 0
        replace, opened = Path.replace, Path.open

        def refuse(path: object) -> None:
            if self.full and self.name in str(path):
                self.hits += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        def replacing(path: Path, target: Any) -> Path:
            refuse(target)
            return replace(path, target)

        def opening(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
            if set(mode) & set("wax+"):
                refuse(path)
            return opened(path, mode, *rest, **more)

        monkeypatch.setattr(Path, "replace", replacing)
        monkeypatch.setattr(Path, "open", opening)
