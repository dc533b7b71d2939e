"""Folders of generated samples.

Modules:
    store    the folder that a run writes: atomic, resumable, with a manifest
    inspect  contact sheets and counts of a folder
    export   a folder as shards of a webdataset
"""
