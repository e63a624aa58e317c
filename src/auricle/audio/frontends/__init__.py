"""From waves to features."""
