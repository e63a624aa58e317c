"""Sound event detection."""
