"""The protocols: what each operator is asked, and how its pictures are measured.

Modules:
    table    the protocols by name
    inputs   the inputs, as pictures of users or drawn from words
    methods  the ways to make a picture of inputs
    rows     every picture of a protocol: its request, its method and its seed
"""
