"""Public methods are documented where they are introduced; what overrides them inherits that and restates nothing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import pytest

import auricle

MODULES = [found.name for found in pkgutil.walk_packages(auricle.__path__, "auricle.") if "__main__" not in found.name]

# Sentences that say no more than the name of what they stand in.
RESTATING = re.compile(
    r"^(Refuse (settings|values|shares|numbers|what)\b.*|Check (the )?(ranges|settings|values)\.|"
    r"(Build|Make|Return) (the|it|a) ?(head|encoder|front end|target|objective|term|mask|decoder|probe)?\.|"
    r"True\.|False\.)$"
)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    missing, restating = [], []
    for cls in vars(module).values():
        if not inspect.isclass(cls) or cls.__module__ != name:
            continue
        for attribute, member in vars(cls).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if not inspect.isfunction(function) or function.__module__ != name or attribute.startswith("<"):
                continue
            text = (function.__doc__ or "").strip()
            first = text.splitlines()[0] if text else ""
            if RESTATING.match(first) and "Raises" not in text:
                restating.append(f"{cls.__name__}.{attribute}: {first}")
            overrides = any(attribute in vars(base) for base in cls.__mro__[1:])
            public = not attribute.startswith("_") and not cls.__name__.startswith("_")
            if public and not text and not overrides and attribute != "forward":
                missing.append(f"{cls.__name__}.{attribute}")
    assert not missing, f"no docstring: {', '.join(missing)}"
    assert not restating, "docstrings that restate a name: " + "; ".join(restating)
