"""Evaluation of frozen encoders on tasks: the driver, its verbs, and maps for the report."""
