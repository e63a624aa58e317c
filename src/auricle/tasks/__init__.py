"""What a downstream task is, and the cards of known ones."""
