"""Find pictures by embeddings: an index of folders of pictures, and the nearest in it.

Modules:
    config    the settings of `pops index`, `pops find` and `pops stats`
    format    the files of an index
    build     `pops index`: encodes the pictures of a folder, shard by shard
    stats     `pops stats`: mean and deviation of the embeddings of an index
    exact     the nearest rows of an index, exactly
    lance     the same by LanceDB, for more rows than memory holds
    renderer  the renderer `find`: the pictures found in place of painted ones
"""
