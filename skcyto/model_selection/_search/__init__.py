"""OptunaSearchCV: trials in a study that processes may share, folds as scikit-learn runs them.

The way of a search: `_checks`, `_space` and `_scoring` (what is searched and measured), `_study`
(where trials are kept; `_damage` reads it first), `_ledger` (which trial is whose, and what came
of it), `_rounds` and `_fold` (a batch of trials, fold by fold), `_cv_results`. Knows nothing of
comparisons.
"""
