"""Clips with one label or several."""
