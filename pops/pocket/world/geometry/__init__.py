"""The forms of the pocket world, and where rays meet them.

Modules:
    shapes    the objects, as signed distance functions
    garments  a mannequin and its garments, likewise
    trace     where rays meet shapes
"""
