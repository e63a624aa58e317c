"""Encoders: features in, token maps out. One file per architecture family."""
