"""Probes with one output per frame."""
