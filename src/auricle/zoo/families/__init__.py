"""Key maps from published checkpoints to auricle encoders."""
