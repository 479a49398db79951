"""Comparison and search under cross-validation."""
