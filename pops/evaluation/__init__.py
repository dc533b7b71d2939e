"""Measures of what operators do: protocols of pictures, and benchmarks whose truth is known.

Modules:
    config    the settings of the commands
    commands  the functions of the commands
    run       runs a protocol: makes pictures, measures them, reports
    stages    the contracts of the stages that make and measure pictures
    store     the folder of an evaluation, a line for every picture

Packages:
    protocols  what each operator is asked
    metrics    how pictures are measured
    models     the models that measure them
    report     tables, figures and intervals
    trust      which metrics can be trusted, checked where the truth is known
    study      user studies
    pocket     the pocket benchmark
"""
