"""Comparisons that answer a question."""
