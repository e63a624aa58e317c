"""Files hold one thought, and folders can be taken in at a glance."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(file for part in ("src", "tests", "benchmarks") for file in (ROOT / part).rglob("*.py"))
LINES, PER_FOLDER, TESTS_PER_LINE = 350, 25, 0.65


def lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


def test_no_file_is_long() -> None:
    assert {str(file.relative_to(ROOT)): lines(file) for file in FILES if lines(file) > LINES} == {}


@pytest.mark.parametrize("folder", sorted({file.parent for file in FILES}), ids=lambda f: str(f.relative_to(ROOT)))
def test_a_folder_is_short(folder: Path) -> None:
    assert len([file for file in folder.iterdir() if file.suffix == ".py"]) <= PER_FOLDER


def test_there_are_tests() -> None:
    source = sum(lines(file) for file in FILES if file.is_relative_to(ROOT / "src"))
    tests = sum(lines(file) for file in FILES if file.is_relative_to(ROOT / "tests"))
    assert tests / source > TESTS_PER_LINE


def test_names_of_tests_are_unique() -> None:
    """Test files are modules without packages: two of one name hide each other."""
    names = [file.name for file in FILES if file.is_relative_to(ROOT / "tests") and file.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)
