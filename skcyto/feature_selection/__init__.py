"""Selection of features, fitted inside the fold."""
