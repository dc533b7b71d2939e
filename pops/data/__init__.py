"""Training data: records on disk, recipes that make examples of them, caches of embeddings."""
