"""A bias per class on a classifier's log probabilities, searched on held-out folds."""
