"""Recipes: one file per published method, and what runs them."""

from __future__ import annotations

from auricle.recipes import audiomosaic as _audiomosaic  # noqa: F401  registers itself
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
