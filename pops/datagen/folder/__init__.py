"""Folders of generated samples.

Modules:
    manifest  the list of samples, checked before it is used
    store     the folder that a run writes: atomic and resumable
    inspect   counts and broken records of a folder
    sheet     contact sheets
    export    a folder as tar files, as WebDataset reads them
"""
