"""Scores over label budgets."""
