"""Published checkpoints in and out, as data."""
