"""Records of what was measured: predictions, scores, comparison, ranks, tables, export."""
