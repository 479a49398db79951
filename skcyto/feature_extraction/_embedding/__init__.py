"""Images to token features: the embedder, its run over batches, and what it keeps."""
