"""A number for each clip."""
