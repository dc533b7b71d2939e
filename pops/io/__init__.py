"""Read and write pictures, embeddings, weights and folders, on disk and from the hub.

Modules:
    files       files and folders that are whole or absent; one writer at a time
    processes   worker processes that end with the process that started them
    schema      checks of what a file says: kinds, counts, sizes, unknown fields
    names       names of output files, and the endings of inputs
    pictures    any usual picture file, as an upright RGB picture
    metadata    a picture apart from what stands beside it in its file
    arrays      `.npy` files, checked against their own header
    tensors     files of tensors: no code, no more than they hold, nothing that is not finite
    embeddings  the `Embeddings` type and its files
    sources     an input of a slot: a picture or an embedding
    model_card  the model card of an operator folder
    requests    one source for every slot of an operator
    hub         repositories that can be downloaded: revisions, licences, sizes
    sharing     operator folders that are sent to the hub, and fetched from it
    asking      asks the hub before a download, and tells why it refuses
    loading     checked folders of models, and one line for what is wrong with them
    placement   the device, the number format and offloading
"""
