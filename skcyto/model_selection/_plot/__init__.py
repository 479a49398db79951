"""Displays of a comparison: `from_comparison` takes numbers of `_results` and draws them.

May import `_results` and `_statistics`.
"""
