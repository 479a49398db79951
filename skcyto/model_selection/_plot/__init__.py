"""Displays of a comparison; they read its results and know nothing of how it was run."""
