"""Folders of generated samples.

Modules:
    manifest  the list of samples, checked before it is used
    store     the folder that a run writes: atomic and resumable
    inspect   counts, broken records and a contact sheet of a folder
    export    a folder as tar files, as WebDataset reads them
"""
