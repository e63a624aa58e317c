"""Recipes: one file per published method, and what runs them.

Names are imported when they are first used: listing the methods imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auricle.recipes.loading import load, load_recipe, random_control
    from auricle.recipes.notes import Notes, Reference
    from auricle.recipes.pretraining import pretrain, resume
    from auricle.recipes.recipe import Recipe
    from auricle.recipes.registry import Method, get_recipe, recipes

_WHERE = {
    "Method": "registry",
    "Notes": "notes",
    "Recipe": "recipe",
    "Reference": "notes",
    "get_recipe": "registry",
    "load": "loading",
    "load_recipe": "loading",
    "pretrain": "pretraining",
    "random_control": "loading",
    "recipes": "registry",
    "resume": "pretraining",
}

__all__ = [
    "Method",
    "Notes",
    "Recipe",
    "Reference",
    "get_recipe",
    "load",
    "load_recipe",
    "pretrain",
    "random_control",
    "recipes",
    "resume",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
