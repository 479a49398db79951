"""Neural networks for imbalanced classes."""
