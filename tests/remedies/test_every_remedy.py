"""Every message with a remedy that can be typed is provoked, and followed, by a test of this folder."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path

from test_named_things_exist import texts

from auricle.cli import VERBS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "src" / "auricle"
# What can be typed to the letter: a flag, a command, an installation, a setting by its dotted name.
COMMAND = rf"\bauricle (?:{'|'.join(VERBS)}|\{{\}})\b"
TYPED = rf"(?<![\w-])--[a-z]|{COMMAND}|pip install|(?<![\w/])(?:train|loader|window)\.[a-z_]+"
WORDS = (
    "set|raise|lower|leave|add|use|choose|name|run|start|continue|write|read|make|exclude|repeat|take|try|resume|needs|"
    "expected|see|fine-tune|comes with|omit|begin"
)
ADVICE = re.compile(rf"\b(?:{WORDS})\b[^;]*?(?:{TYPED})|^; (?:`auricle|write --|--)", re.IGNORECASE)
# Texts of lists and pages: no messages.
LISTS = re.compile(r"^(?:tasks/cards/|corpus/published/(?!download)|recipes/(?:methods/|matrix)|report/page)")


def messages() -> list[tuple[str, str]]:
    """Each message with a remedy that can be typed: its place and text; parts that a run fills in are `{}`."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        nodes = [] if LISTS.match(place) else list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        passed = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        passed |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        raised = {id(part) for node in nodes if isinstance(node, ast.Raise) for part in ast.walk(node)}
        for node in nodes:
            # Other texts of the command line are help.
            if id(node) in passed or (place.startswith("cli/") and id(node) not in raised):
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            if ADVICE.search(text):
                found.append((f"{place}:{node.lineno}", text))
    return found


def executed() -> set[str]:
    """Parts of the messages that tests of this folder provoke and follow (see `remedy_tools.executes`)."""
    modules = [importlib.import_module(file.stem) for file in HERE.glob("test_*.py")]
    return {part for module in modules for test in vars(module).values() for part in getattr(test, "remedies", ())}


def test_every_remedy_is_executed() -> None:
    done, every = executed() | INSTALLED, messages()
    assert len(every) > 100
    missing = [f"{place} {text}" for place, text in every if not any(part in text for part in done)]
    assert not missing, "run it in a test of this folder (executes):\n" + "\n".join(missing)
    stale = [part for part in done if not any(part in text for _, text in texts())]
    assert not stale, "no message has these parts any more:\n" + "\n".join(stale)


# An extra is installed by pip, which is not run here: the command is exact, and the extra exists.
INSTALLED = {"which needs an extra: pip install", "it comes with: pip install", "tensorboard package: pip install"}


def test_extras_are_installed_by_one_exact_command() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    commands = [found for _, text in messages() for found in re.findall(r"pip install .*?(?=[;,]|$)", text)]
    assert len(commands) == len(INSTALLED)
    for command in commands:
        named = re.fullmatch(r"pip install 'auricle\[([a-z]+|\{\})\]'", command)
        assert named, command
        assert named[1] in extras | {"{}"}
