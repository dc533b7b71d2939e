"""Training of operators: one trainer for a single operator, an adapter or several jointly.

Modules:
    config         the settings of the command
    run            a run, from its settings to operator folders
    devices        the accelerator and the optimiser of a run
    parts          the settings of the parts of a run
    tasks          the operators of a run, and their data
    loop           the training loop
    batch_sampler  the rows and the noise of every step
    learning_rate  the learning rate as a function of the step
    loss           the losses
    ema            the average of the weights
    model          the prior that is trained
    state          all that a resume needs, and checkpoints
    interrupt      Ctrl-C and SIGTERM as a request to stop
    validation     how good an operator is on held-out records
    outputs        metrics, curves and operator folders
"""
