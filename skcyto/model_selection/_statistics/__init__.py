"""Tests and intervals of plain arrays: folds, pooled predictions, areas, ranks.

They know no comparison and import nothing else of `model_selection`.
"""
