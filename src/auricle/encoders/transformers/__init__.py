"""Audio encoders of the transformers library."""
