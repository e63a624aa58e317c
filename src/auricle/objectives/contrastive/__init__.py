"""Losses that tell pairs apart."""
