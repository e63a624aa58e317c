"""What is predicted: signals, codes, clusters, teachers."""
