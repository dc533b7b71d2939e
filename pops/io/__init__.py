"""Read and write pictures, embeddings, weights and folders, on disk and from the hub.

Modules:
    files       files and folders that are whole or absent; one writer at a time
    names       names of output files, and the endings of inputs
    pictures    any usual picture file, as an upright RGB picture
    embeddings  the `Embeddings` type and its files
    sources     an input of a slot: a picture or an embedding
    requests    one source for every slot of an operator
    assets      the pictures that come with pops
    loading     checked folders of models, and one line for what is wrong with them

Packages:
    formats  what a file says, checked before it is believed
    hub      repositories: found in the cache, downloaded, shared
    machine  the device that models run on, and worker processes
"""
