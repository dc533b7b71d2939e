"""Engines of data generation, which run the scripts of many samples and batch their requests.

Modules:
    local  one process
    ray    a Ray cluster, by Ray Data with a pool of actors for each stage
"""
