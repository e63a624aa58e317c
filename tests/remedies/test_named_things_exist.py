"""Every flag, setting, command, extra, function and class that a text of the source names exists.

Texts are the string literals of `src`: messages, help, notes and docstrings. A remedy that names a flag which was
renamed, or never was, is worse than none.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import re
import shlex
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import auricle
from auricle.cli import GROUPS, VERBS, main
from auricle.config import Config, flatten
from auricle.recipes.recipe import Recipe
from auricle.recipes.registry import get_recipe
from auricle.tasks.rule import TaskRule

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "auricle"
# Flags of other programs' command lines that a text repeats: hf, zip.
FOREIGN = {"--repo-type", "--revision", "--include", "--local-dir"}
# Not names of settings though they look so: files, and a page's variables.
FILES = {"objective.safetensors", "encoder.safetensors", "train.jsonwav.tar.gz", "--left", "--right"}
# Names of version 0.1 that saved results hold.
OLD = {"CompatHeadConfig", "CompatLayersHeadConfig"}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*(?:\.(?:[a-z0-9][a-z0-9-]*|\*))*")


@functools.cache
def texts() -> tuple[tuple[str, str], ...]:
    """Every string literal as (place, text); parts that a run fills in are `{}`."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            place = f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                found.append((place, "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)))  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                found.append((place, node.value))
    return tuple(found)


def named(pattern: str | re.Pattern[str]) -> Iterator[tuple[str, re.Match[str]]]:
    for place, text in texts():
        for match in re.finditer(pattern, text):
            yield place, match


@functools.cache
def flags(verb: str) -> frozenset[str]:
    """The flags that the help of a verb shows."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setenv("COLUMNS", "300")
        main([*shlex.split(verb), "--help-all"])
    return frozenset(FLAG.findall(out.getvalue()))


@functools.cache
def settings() -> frozenset[str]:
    """The dotted names of a recipe's settings, whatever kinds of encoder, objective and parts it has."""
    for module in pkgutil.walk_packages(auricle.__path__, "auricle."):
        importlib.import_module(module.name)
    found: set[str] = set()

    def enter(hint: Any, prefix: str, above: tuple[type, ...]) -> None:
        if isinstance(hint, type) and issubclass(hint, Config):
            for kind in [hint, *(k for k in Config._known.values() if issubclass(k, hint) and k is not hint)]:
                if kind in above or kind is Recipe:
                    continue
                for name, inner in typing.get_type_hints(kind).items():
                    if not name.startswith("_") and name in kind.__dataclass_fields__:
                        found.add(f"{prefix}{name}".replace("_", "-"))
                        enter(inner, f"{prefix}{name}.", (*above, kind))
            return
        for inner in typing.get_args(hint):
            enter(inner, prefix, above)

    for name, hint in typing.get_type_hints(Recipe).items():
        if name in Recipe.__dataclass_fields__:
            found.add(name)
            enter(hint, f"{name}.", ())
    return frozenset(found)


@functools.cache
def every_flag() -> frozenset[str]:
    verbs = [v for v in VERBS if v not in ("pretrain", *GROUPS)]
    verbs += [f"{verb} {sub}" for verb, subs in GROUPS.items() for sub in subs]
    verbs += [
        "pretrain audio-mae",
        "pretrain beats",
        "probe --task folder",
        "probe --task desed",
        "finetune --task folder",
    ]
    known = {"--plugin", "--help", "--help-all", "--version"}.union(*(flags(verb) for verb in verbs))
    known |= {f"--{name}" for name in settings()}
    for rule in (k for k in Config._known.values() if issubclass(k, TaskRule)):
        known |= {f"--rule.{name}".replace("_", "-") for name in rule.__dataclass_fields__}
    return frozenset(known)


def exists(flag: str) -> bool:
    head, _, last = flag.rpartition(".")
    if last == "*":
        return any(known.startswith(f"{head}.") for known in every_flag())
    plain = f"{head}.{last.removeprefix('no-')}" if head else f"--{flag.removeprefix('--no-')}"
    return flag in every_flag() or plain in every_flag()


def test_settings_are_the_flags_of_the_real_parser() -> None:
    """What the other tests take for flags of `pretrain` is what its parser has."""
    for name in ("audio-mae", "wav2vec2"):
        shown = {
            f.removeprefix("--") for f in flags(f"pretrain {name}") if "." in f and "*" not in f and ".no-" not in f
        }
        own = {key.replace("_", "-") for key in flatten(get_recipe(name, "tiny").to_json())}
        assert {"train.steps", "loader.batch", "objective.mask.ratio"} & shown
        assert {f for f in shown if not re.search(r"\.\d", f)} <= settings()
        assert {f for f in shown if f.startswith(("train.", "loader.", "window."))} <= own


def test_flags() -> None:
    wrong = [
        f"{place} {flag}"
        for place, m in named(FLAG)
        if not exists(flag := m.group())
        and flag not in FOREIGN | FILES
        # A name that the code completes.
        and not re.match(r"\.($|\{)", m.string[m.end() :])
    ]
    assert not wrong, "\n".join(wrong)


def test_commands() -> None:
    """`auricle VERB ...` in backticks: the verb exists, and has the flags."""
    wrong = []
    for place, match in named(r"`auricle ([^`]+)`"):
        words = [w for w in match[1].split() if w != "..."]
        if words[0].startswith("-") or "{}" in words or words[0].isupper():
            continue
        if words[0] not in VERBS:
            wrong.append(f"{place} {match[1]}")
            continue
        verb = words[0]
        if verb in GROUPS and words[1:] and words[1] in GROUPS[verb]:
            verb = f"{verb} {words[1]}"
        elif verb in GROUPS and words[1:] and not words[1].isupper():
            wrong.append(f"{place} {match[1]}")
        own = every_flag() if verb == "pretrain" else flags(verb)
        if verb in ("probe", "finetune"):
            own |= flags(f"{verb} --task folder")
        wrong += [f"{place} {verb} {flag}" for flag in FLAG.findall(match[1]) if flag not in own]
    assert not wrong, "\n".join(wrong)


def test_extras() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    asked = {(place, name) for place, m in named(r"auricle\[([a-z,]+)\]") for name in m[1].split(",")}
    asked |= {(place, m[1]) for place, m in named(r"\bthe extra `([a-z]+)`")}
    for path in SOURCE.rglob("*.py"):
        asked |= {(path.name, m) for m in re.findall(r"extra=\"([a-z]+)\"", path.read_text(encoding="utf-8"))}
    assert len(asked) > 5
    assert {name for _, name in asked} <= extras


def test_settings_named_in_messages() -> None:
    """`train.keep`, `objective.mask`: dotted names of settings without dashes."""
    heads = "|".join(name for name in Recipe.__dataclass_fields__ if name not in ("name", "size", "notes"))
    known = settings()
    wrong = [
        f"{place} {m.group()}"
        for place, m in named(rf"(?<![\w/.`'(-])(?:{heads})\.[a-z_]+(?:\.[a-z_]+)*(?![\w./(-])")
        if m.group().replace("_", "-") not in known and m.group() not in FILES
    ]
    assert not wrong, "\n".join(wrong)


def test_classes_of_settings() -> None:
    settings()
    wrong = [
        f"{place} {m.group()}" for place, m in named(r"\b[A-Z]\w+Config\b") if m.group() not in {*Config._known, *OLD}
    ]
    assert not wrong, "\n".join(wrong)


def test_functions_to_call() -> None:
    """`name()` in a message is defined in the source, or a method of torch's modules."""
    defined = {
        node.name
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    wrong = [
        f"{place} {m.group()}"
        for place, m in named(r"(?<![\w.])([a-z_]{3,})\(\)")
        if m[1] not in defined and not hasattr(torch.nn.Linear, m[1]) and m[1] != "super"
    ]
    assert not wrong, "\n".join(wrong)


def test_functions_of_libraries() -> None:
    for place, match in named(r"\b((?:torch|safetensors|numpy)(?:\.[a-z_]+)*)\.([a-z_]+)\("):
        assert hasattr(importlib.import_module(match[1]), match[2]), (place, match.group())
