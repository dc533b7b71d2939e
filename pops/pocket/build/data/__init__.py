"""Training data of the pocket stack, from scenes to examples of operators.

Modules:
    families  families of scenes that are easily confused
    pictures  shards of training pictures, rendered and read back
    labels    the answers that a record gives, as numbers
    batches   the batches that the encoders are trained on
    embeds    embeddings of pictures and of what is cut out of them
    pool      records and embeddings that the examples are made of
    recipes   examples of the operators, drawn from a pool
    caches    examples in the form that `pops train` reads
"""
