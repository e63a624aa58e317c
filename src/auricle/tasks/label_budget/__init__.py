"""Score against the number of labels."""
