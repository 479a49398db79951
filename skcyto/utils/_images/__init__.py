"""Images as every estimator takes them: decoded, checked, sized."""
