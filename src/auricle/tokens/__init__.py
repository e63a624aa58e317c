"""Frozen token maps on disk: extraction and cache."""
