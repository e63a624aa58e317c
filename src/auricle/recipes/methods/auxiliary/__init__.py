"""Recipes with auxiliary tasks."""
