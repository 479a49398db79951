"""Tests on arrays of numbers alone; no estimator, no table, no plot."""
