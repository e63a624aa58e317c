"""Recipes that predict discrete tokens."""
