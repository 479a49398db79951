"""ImbalancedMLPClassifier, from checked rows to the fitted network and its saved state."""
