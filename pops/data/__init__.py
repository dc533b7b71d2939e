"""Training data: records on disk, recipes that make examples of them, caches of embeddings.

Modules:
    config         the settings of training data
    records        samples on disk in the published layouts
    persons        records of human parsing, from a folder or the hub
    captions       pictures with captions, for a base prior
    example        a training example
    recipes        from a record to a training example of an operator
    reader         the settings of recipes, and the opening of a record's files
    human_parsing  the labels of garments, and cutting them out
    cutting        cutting and pasting of pictures
    word_lists     text files of words
    order          the order of records
    dataset        examples by (epoch, index)
    encoding       from examples to embeddings
    sources        batches from caches, from pictures, or of several operators
    cache          caches of embeddings
"""
