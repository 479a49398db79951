"""Pictures and volumes drawn by rule, so that examples and tests need no patient's data."""
