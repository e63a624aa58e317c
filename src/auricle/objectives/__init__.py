"""Objectives: what an encoder is trained on. One file per paradigm."""
