"""Displays of explanations; they read an Explanation, which knows none of them."""
