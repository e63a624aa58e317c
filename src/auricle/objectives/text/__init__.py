"""Alignment of audio and text."""
