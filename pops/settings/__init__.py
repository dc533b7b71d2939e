"""Settings: frozen dataclasses that become flags, YAML files and help.

Modules:
    commands  the settings of the commands that apply, compose and convert
    parsing   from a dataclass to a command line, with one line for every mistake
"""
