"""Published data sets: where they are, their sums, how their folders are read."""
