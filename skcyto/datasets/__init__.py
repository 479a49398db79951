"""Loaders and generators of data sets."""
