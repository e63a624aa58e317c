"""Retrieval by example."""
