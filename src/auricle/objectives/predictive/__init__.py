"""Masked prediction, reconstruction, future prediction, and teachers: decoders, heads and terms."""
