"""Recipes that reconstruct or predict the signal."""
