"""What a comparison measured: records of folds, measures, tests. Draws and runs nothing."""
