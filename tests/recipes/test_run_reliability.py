"""Short forms of `benchmarks/reliability`, which holds the figures of the whole ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "reliability"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["crash_points.py", "--sample", "3", "--seed", "7"], "| two stages |"),
        (["edited_recipes.py", "--edits", "30", "--seed", "7"], "refused in words"),
    ],
)
def test_runs_survive(words: list[str], expected: str) -> None:
    """Killed at some file operations of each kind of run, and opened after some edits of a recipe by hand."""
    done = subprocess.run([sys.executable, FOLDER / words[0], *words[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
