"""Clips with the same label, ranked by similarity."""
