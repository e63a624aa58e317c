"""New classes from a few clips."""
