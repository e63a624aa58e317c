"""Probes for sequences, trained by CTC."""
