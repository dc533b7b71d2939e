"""The command line `pops`.

Modules:
    main      finds the command, reads its settings and calls it; imports no torch
    commands  checks the inputs of a command, calls the engine and writes the results
    demo      shows all operators on the pictures that come with pops
    doctor    tells whether the machine is ready for a stack
    steps     what several commands do: load a stack, look at inputs, lay out an equation
    outputs   the files that `pops run` writes
    sharing   brings operators to other programs and to the hub
"""
