"""auricle."""
