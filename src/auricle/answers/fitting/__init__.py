"""Fitting the head of a model: by the type of its task."""
