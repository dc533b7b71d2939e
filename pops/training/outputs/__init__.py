"""The files that a run writes beside its checkpoints.

Modules:
    metrics          the metrics log, and trackers
    curves           curves over the steps as a picture
    operator_folder  the folders of the trained operators
    base_folder      the folder of a trained base prior
"""
