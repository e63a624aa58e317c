"""Verification of identities."""
