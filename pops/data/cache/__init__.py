"""Caches of embeddings: training examples that are encoded once.

Modules:
    format        the files of a cache: an index and shards
    checks        whether the files of a shard fit one another
    fingerprints  digests that tell whether a cache fits its stack, operator and data
    build         `pops embed`: encode a dataset into a cache, resumable
    read          batches of training examples from a cache
"""
