"""Imbalance losses."""
