"""Displays of what the selectors kept; they read fitted selectors, which know none of them."""
