"""Readers of folders, tables and shards."""
