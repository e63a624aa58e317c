"""Zero-shot classification and text retrieval with encoders of audio and text."""
