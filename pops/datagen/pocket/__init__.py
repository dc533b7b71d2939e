"""Stages of data generation that are answered exactly, by the pocket world.

Modules:
    stages   the answers to all stages
    prompts  from a prompt to a scene of the pocket world
    drawing  drawn scenes, and pictures that remember theirs
"""
