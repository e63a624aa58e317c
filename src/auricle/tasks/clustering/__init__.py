"""Clustering of clip vectors."""
