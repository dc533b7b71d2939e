"""Compositions: operators that are applied to the results of operators.

Modules:
    nodes      the parts of a composition: sources, operators, calls of functions
    calls      functions that need no training: texts, means, sums, swaps
    functions  operators as functions, and all that a composition may call
    parse      a composition from a text
    plan       the order in which parts are made; folders and ranges spread
    run        the embeddings of all parts
    algebra    what the functions compute
    draw       figures of how results were made
"""
