"""Corpora: tables of clips, their sources, splits and folds; scanning, windows and batches."""
