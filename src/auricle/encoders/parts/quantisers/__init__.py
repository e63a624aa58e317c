"""Quantisers: tokens to codes of a codebook."""
