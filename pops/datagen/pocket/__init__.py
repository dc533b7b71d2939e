"""Stages of data generation that the pocket world answers exactly.

Modules:
    stages    the answers to all stages
    prompts   from a prompt to a scene of the pocket world
    pictures  pictures that know the scene they show
"""
