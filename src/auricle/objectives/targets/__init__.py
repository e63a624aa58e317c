"""Targets of predictions: signals, codes, clusters, teachers."""
