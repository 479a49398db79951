"""Shapley values of a fitted pipeline: background, response, estimators, explanation."""
