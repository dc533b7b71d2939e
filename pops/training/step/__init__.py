"""The parts of one training step, each a function of the step or of tensors alone.

Modules:
    batch_sampler  the rows and the noise of every step
    learning_rate  the learning rate as a function of the step
    loss           the losses
    ema            the average of the weights
"""
