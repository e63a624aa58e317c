"""Recipes: one file per published method, and what runs them."""

from __future__ import annotations

import importlib
import pkgutil

from auricle.recipes import methods as _methods
from auricle.recipes.load import load, load_recipe, random_control
from auricle.recipes.pretrain import pretrain
from auricle.recipes.recipe import Recipe, Reference, get_recipe, recipe, recipes

__all__ = [
    "Recipe",
    "Reference",
    "get_recipe",
    "load",
    "load_recipe",
    "pretrain",
    "random_control",
    "recipe",
    "recipes",
]

# Each registers itself, so that a new method is a new file and no other change.
for _found in pkgutil.walk_packages(_methods.__path__, f"{_methods.__name__}."):
    importlib.import_module(_found.name)
