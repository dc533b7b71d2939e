"""Flags: a dataclass of settings as a command line, with its help and its mistakes.

Modules:
    parsing   from a dataclass to a command line, with one line for every mistake
    values    reads and describes the values of each kind of setting
    reading   settings files, in which words stay words
    spelling  settings as the command line that gives them
    output    standard output that undoes no work
"""
