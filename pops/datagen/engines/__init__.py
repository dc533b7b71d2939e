"""Engines of data generation: they run the scripts of many samples, batched by stage.

Modules:
    local  one process
    ray    a Ray cluster, by Ray Data with a pool of actors for each stage
"""
