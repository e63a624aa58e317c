"""The built-in corpus: sound scenes that are rendered from a seed."""
