"""OptunaSearchCV: the space, the study, the worker's trials, the results."""
