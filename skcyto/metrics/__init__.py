"""Scores for imbalanced classes."""
