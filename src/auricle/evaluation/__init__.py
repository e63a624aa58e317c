"""Frozen encoders on tasks: the driver, and what is drawn from it."""
