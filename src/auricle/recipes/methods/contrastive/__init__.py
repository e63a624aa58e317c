"""Recipes that contrast positive pairs with negatives, or decorrelate two views."""
