"""Transcription by CTC."""
