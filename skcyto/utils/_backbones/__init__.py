"""Vision transformers of timm: source, weights, memory, transforms."""
