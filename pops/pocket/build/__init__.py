"""Rebuild the pocket stack from nothing: `python -m pops.pocket.build`.

Nothing here is needed to use the stack.

Modules:
    main       the stages, their order, and the command
    work       the work folder of a build, and what its stages find in it
    data       what the models learn from
    models     the models, and how each is trained
    fit        the training loop that all these models share
    operators  the stages that train the operators by `pops train`
    package    the stages that put the trained parts together
    progress   lines that tell how far a stage is
"""
