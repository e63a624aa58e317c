"""Recipes that tell pairs apart."""
