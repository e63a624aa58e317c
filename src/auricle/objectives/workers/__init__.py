"""Pretext tasks: workers on frames, and tasks on slices of a clip."""
