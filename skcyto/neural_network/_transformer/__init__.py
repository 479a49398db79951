"""EVA02Classifier, from checked images to the fine-tuned network and its saved state."""
