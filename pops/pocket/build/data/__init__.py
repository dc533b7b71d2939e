"""What the pocket stack learns from, from scenes to examples of operators.

Modules:
    families  scenes that are easily confused
    pictures  shards of training pictures, rendered and read back
    labels    what a record says, as numbers
    batches   what the encoders see in a step
    embeds    pictures, and what is cut out of them, as embeddings
    recipes   from records to examples of the operators
    caches    examples in the form that `pops train` reads
"""
