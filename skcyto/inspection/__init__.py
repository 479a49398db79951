"""What a fitted pipeline looks at."""
