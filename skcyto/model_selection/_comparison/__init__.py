"""compare_models: run the folds of all models, hand back a ModelComparison."""
