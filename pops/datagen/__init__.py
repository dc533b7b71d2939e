"""Data generation: one generator for each kind of record, over stages that models answer.

Sample i of a run is a pure function of (seed, i): all that is asked of every model, and its seeds.

Modules:
    commands    the functions of the commands
    config      their settings
    run         a run, from its settings to a folder of samples
    generators  the script of each kind of record, from a prompt to its files
    sample      a script's result, and how its files are encoded
    stages      the contracts between scripts and models
    presets     which models answer the stages
    words       the words of prompts, and the names of files
    masks       boxes and masks
    cutouts     the command that removes backgrounds
    embeddings  the commands that encode data and folders of pictures, by the same engines
    engines     running many scripts: on this machine, or on a Ray cluster
    folder      the folder of samples: manifest, writing, inspection, export
    models      stages that models of the hub answer
    pocket      stages that the pocket world answers
"""
