"""Recipes: one file per published method."""
