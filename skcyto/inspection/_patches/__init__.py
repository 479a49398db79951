"""What each patch of an image adds to a prediction."""
