"""Contrastive losses and objectives."""
