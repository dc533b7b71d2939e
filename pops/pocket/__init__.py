"""The embedded small stack: a world of rendered pictures and the models trained on it.

Modules:
    world    draws the pictures of the world
    weights  the trained models, in the layout of any stack
    judge    tells what is in a picture of the world
    build    trains the models; not needed to use them
"""
