"""How a probe is trained and its settings are chosen."""
