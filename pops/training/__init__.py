"""Training of operators: one trainer for a single operator, an adapter or several jointly.

Modules:
    config     the settings of the command
    run        a run, from its settings to operator folders
    devices    the accelerator and the optimiser of a run
    parts      the settings of the parts of a run
    tasks      the operators of a run, and their data
    loop       the training loop
    model      the prior that is trained
    state      all that a resume needs, and checkpoints
    interrupt  Ctrl-C and SIGTERM as a request to stop

Packages:
    step        one step: its rows, its learning rate, its losses, the average of the weights
    validation  how good an operator is on held-out records
    outputs     metrics, curves and operator folders
"""
