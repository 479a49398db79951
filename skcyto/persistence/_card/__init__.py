"""The model card: what a saved model is, was trained on, and scored."""
