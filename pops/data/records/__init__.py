"""Records: the samples of a folder of training data, as they lie on disk.

Modules:
    layouts   samples on disk in the published layouts
    persons   records of human parsing, from a folder or the hub
    captions  pictures with captions, for a base prior
"""
