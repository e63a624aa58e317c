"""Recipes in which a student predicts a teacher."""
