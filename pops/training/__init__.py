"""Training of operators: one trainer for a single operator, an adapter or several jointly.

Modules:
    config           the settings of the command
    run              a run, from its settings to operator folders
    tasks            the operators of a run, and their data
    loop             the training loop
    batch_sampler    the rows and the noise of every step
    learning_rate    the learning rate as a function of the step
    loss             the losses
    ema              the average of the weights
    model            the prior that is trained
    state            all that a resume needs, and checkpoints
    metrics          the metrics log and trackers
    held_out         the records that a run is validated on
    validation       numbers and figures of how good an operator is
    retrieval        ranks among many embeddings
    curves           curves as a picture
    operator_folder  the folders that a run leaves
    interrupt        Ctrl-C and SIGTERM as a request to stop
"""
