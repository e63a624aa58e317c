"""Downstream tasks: cards, and one sub-folder for each type of task."""
