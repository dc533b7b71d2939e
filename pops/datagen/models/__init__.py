"""Stages of data generation that models of the hub answer.

Modules:
    registry   which models answer which stage, and how each is loaded
    diffusion  pictures from text, from depth, and by inpainting
    vision     detection of objects and segmentation of the foreground
    people     pictures of dressed people with a map of their garments
"""
