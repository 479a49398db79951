"""TunedLogitBiasClassifierCV: one bias a class, found on rows that no model has seen.

`_folds` scores these rows, `_ascent` climbs, `_classifier` is the estimator. Knows nothing of
comparisons and searches.
"""
