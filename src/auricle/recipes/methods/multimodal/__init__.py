"""Recipes that align audio with another modality."""
