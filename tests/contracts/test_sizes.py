"""Files hold one thought, and folders can be taken in at a glance."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(file for part in ("src", "tests", "benchmarks") for file in (ROOT / part).rglob("*.py"))
LINES, PER_FOLDER, TESTS_PER_LINE = 350, 25, 0.65
SHORT = 60
# Short files with one importer, or none: found by name (verbs, recipes), data (a file of cards per area), the layout
# of every type of task (rule, answers, run), or the entry point of `python -m`.
SEPARATE = ("cli/", "recipes/methods/", "tasks/cards/", "tasks/*/answers.py")


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


def test_a_short_module_with_one_importer_is_part_of_it() -> None:
    source = ROOT / "src"
    modules = {".".join(file.with_suffix("").relative_to(source).parts): file for file in source.rglob("*.py")}
    importers: dict[str, set[str]] = defaultdict(set)
    for name, file in modules.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for imported in (f"{node.module}.{alias.name}" for alias in node.names):
                    importers[imported if imported in modules else node.module].add(name)
    separate = []
    for name, file in modules.items():
        path = file.relative_to(source / "auricle")
        allowed = any(path.match(part) or str(path).startswith(part) for part in SEPARATE) or file.name == "__init__.py"
        if allowed or lines(file) >= SHORT or len(importers[name]) != 1:
            continue
        (importer,) = importers[name]
        # A recipe holds choices only: parts of a method stay in their rooms.
        if "recipes.methods" not in importer and lines(file) + lines(modules[importer]) <= LINES:
            separate.append(f"{path} -> {importer}")
    assert separate == []
