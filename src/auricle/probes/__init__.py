"""Readers of frozen tokens, and their search."""
