"""The command line `pops`.

Modules:
    main      finds the command, reads its settings and calls it; imports no torch
    commands  checks the inputs of a command, calls the engine and writes the results
    outputs   the files that `pops run` writes
"""
