"""Formats of files: each is checked against itself before anything in it is believed.

Modules:
    schema    checks of what a JSON file says: kinds, counts, sizes, unknown fields
    configs   the configs of other libraries' models: fields that vary, and those that may not
    arrays    `.npy` files, checked against their own header
    tensors   files of tensors: no code, no more than they hold, nothing that is not finite
    shards    numbered pieces of embeddings: a list, and the arrays that belong to it
    metadata  a picture apart from what stands beside it in its file
"""
