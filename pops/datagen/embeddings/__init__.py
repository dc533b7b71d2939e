"""Embeddings of data and of folders of pictures, made by the engines of data generation.

Modules:
    embed   the command that encodes data into a cache
    index   the command that encodes folders of pictures into an index
    shards  shards of embeddings, which both have a cluster make
"""
