"""Compositions: operators that are applied to the results of operators.

Modules:
    nodes  the parts of a composition: inputs, operators, means
    parse  a composition from a text, or from calls of functions
    plan   the order in which the parts are made; folders spread into grids
    run    the embeddings of all parts
    draw   figures of how results were made
"""
