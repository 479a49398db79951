"""compare_models: check, plan and run the folds of all models, hand back a ModelComparison.

The way of a call: `_cases` (what was given), `_candidates` and `_metadata` (who is fitted, with
what), `_plan` (what a checkpoint, a `RecordFolder`, lacks), `_folds` and `_fit` (fits and
predictions), `_model_comparison` (the data of `_results` with tests, pictures and pages as
methods). May import every other room but `_search` and `_logit_bias`.
"""
