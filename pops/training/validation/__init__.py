"""Validation: how good an operator is on records that are held out of training.

Modules:
    held_out   the records, encoded once
    measure    numbers and a figure
    retrieval  ranks among many embeddings
"""
