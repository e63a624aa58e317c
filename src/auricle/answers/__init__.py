"""Fitted models in use: fit, predict, detect, index, search, label."""
