"""Embeddings of more images than memory holds, written to a folder of Parquet parts."""
