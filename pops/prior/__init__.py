"""The diffusion prior: the model, the tokens that it is given, and how it is sampled.

Modules:
    config      the sizes of a prior
    model       the prior: `forward` for training, `condition` and `denoise` for sampling
    blocks      its transformer blocks, and the cache that their moving tokens attend to
    linear      linear layers that are fast for few rows on a CPU
    int8        layers whose weights are held in 8 bits
    conditions  inputs packed into condition tokens and a mask; dropping of conditions
    schedule    the noise schedule, as pure functions
    sampling    guidance and samplers, as pure functions
    batching    many requests with many seeds, as batches of the prior
    adapters    low-rank adapters, in peft's file format
    subjects    a prior of another layout, that of λ-ECLIPSE
    joint       one prior for several operators, and the files of what each has alone
"""
