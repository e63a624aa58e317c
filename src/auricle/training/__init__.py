"""The training loop, schedules, checkpoints and monitors."""
