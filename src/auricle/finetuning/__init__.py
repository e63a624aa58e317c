"""Training an encoder on labels."""
