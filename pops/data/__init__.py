"""Training data: records on disk, recipes that make examples of them, caches of embeddings.

Modules:
    config         the settings of training data
    example        a training example
    recipes        from a record to a training example of an operator
    reader         the settings of recipes, and the opening of a record's files
    human_parsing  the labels of garments, and cutting them out
    cutting        cutting and pasting of pictures
    word_lists     text files of words
    order          the order of records
    dataset        examples by (epoch, index)
    encoding       from examples to embeddings

Packages:
    records  samples on disk, in the published layouts and others
    sources  batches from caches, from pictures, or of several operators
    cache    caches of embeddings
    words    text files: the lists of words that come with pops
"""
