"""Metrics and intervals: one module per family, the catalogue of names and units, and weights of units."""
