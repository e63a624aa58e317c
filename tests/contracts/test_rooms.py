"""A room knows only the rooms to its left."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "auricle"

OPEN = {"errors", "config", "extras", "storage", "tensor_files", "devices", "words"}

# What each room is built on; it also knows what those know. Rooms of `OPEN` are open to all.
BUILT_ON: dict[str, tuple[str, ...]] = {
    "errors": (),
    "config": (),
    "extras": (),
    "storage": (),
    "tensor_files": (),
    "devices": (),
    "words": (),
    "audio": (),
    "metrics": (),
    "corpus": ("audio",),
    "encoders": ("audio",),
    "objectives": ("encoders",),
    "training": ("objectives", "corpus"),
    "recipes": ("training",),
    "zoo": ("encoders",),
    "tokens": ("encoders", "corpus"),
    "probes": ("tokens",),
    "results": ("metrics",),
    "tasks": ("probes", "results", "corpus"),
    "models": ("recipes", "zoo", "probes", "tokens"),
    "evaluation": ("tasks", "models"),
    "finetuning": ("evaluation",),
    "kits": ("evaluation",),
    "answers": ("finetuning", "report"),
    "studies": ("answers", "kits"),
    "report": ("results",),
    "demo": ("studies", "report"),
    "plugins": (),
    "__init__": ("studies", "report", "plugins"),
    "cli": ("demo", "plugins"),
    "__main__": ("cli",),
}


def known(room: str) -> set[str]:
    rooms = {room}
    for left in BUILT_ON[room]:
        rooms |= known(left)
    return rooms


def room_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(file: Path) -> set[str]:
    """Rooms that a file imports anywhere, also inside functions or for types only."""
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; write the whole name"
            if node.module == "auricle":
                names = [f"auricle.{alias.name}" for alias in node.names]
            else:
                names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("auricle.")}
    return rooms


FILES = sorted(SOURCE.rglob("*.py"))


def test_every_room_is_on_the_plan() -> None:
    assert {room_of(file) for file in FILES} <= BUILT_ON.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_file_knows_only_rooms_to_its_left(file: Path) -> None:
    room = room_of(file)
    allowed = known(room) | OPEN
    # `from auricle import __version__` names no room.
    found = {name for name in imported_rooms(file) if name in BUILT_ON}
    assert found <= allowed, f"{room} may know {sorted(allowed)} and also imports {sorted(found - allowed)}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_house_rules_of_a_source_file(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], "assert is for tests"
    assert file.stem not in {"utils", "util", "helpers", "common", "misc"}


def test_every_module_can_be_imported_beside_all_others() -> None:
    """Settings have names that are unique in the whole package, and none has a field that JSON needs for itself."""
    import dataclasses
    import importlib
    import pkgutil

    import auricle
    from auricle.config import Config

    for found in pkgutil.walk_packages(auricle.__path__, "auricle."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    assert len(Config._known) > 100
    for name, config in Config._known.items():
        if dataclasses.is_dataclass(config):
            assert "kind" not in {field.name for field in dataclasses.fields(config)}, name
