"""Operators on waves and features."""
