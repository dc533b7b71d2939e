"""Figures of pictures with captions: strips that read as equations, labelled grids, and trees.

White pages, hairline frames, one quiet typeface that comes with Pillow. A caption is never cut:
it is wrapped to the width of its cell, in smaller type when it is long, and the row grows.

Modules:
    drawing    pages, pictures, words and signs
    text       captions, wrapped to a width
    tables     strips and grids
    trees      how a result was made
    animation  pictures that move through the values of a range
"""

from pops.figures.animation import save_animation
from pops.figures.drawing import Cell
from pops.figures.tables import WIDEST, grid, strips
from pops.figures.text import wrap
from pops.figures.trees import Branch, tree

__all__ = ["WIDEST", "Branch", "Cell", "grid", "save_animation", "strips", "tree", "wrap"]
