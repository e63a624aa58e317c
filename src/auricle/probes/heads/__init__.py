"""Probes with one output per clip."""
