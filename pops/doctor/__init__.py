"""`pops doctor`: looks at the machine, the models and what they need, before anything is run.

Modules:
    lines    a line of the report, and sizes in words
    machine  versions, device, number format, memory and disk
    models   which models are here, which will be fetched, and whether they fit the code
    trial    one sampling step of a random prior of the real size
    examine  all of these in order
"""
