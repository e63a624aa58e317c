"""Task cards: pure data."""
