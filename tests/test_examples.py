"""The examples in docstrings run, and every function of the public API has one."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import auricle

SOURCE = Path(auricle.__file__).parent
MODULES = sorted(
    ".".join(("auricle", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for file in SOURCE.rglob("*.py")
    if ">>> " in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("name", sorted(name for name in auricle.__all__ if name[0].islower()))
def test_a_public_function_has_an_example(name: str) -> None:
    assert ">>> " in (getattr(auricle, name).__doc__ or "")
