"""Task cards: pure data, without torch."""
