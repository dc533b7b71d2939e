"""Settings: frozen dataclasses that become flags, YAML files and help.

Modules:
    sampling   how operators are sampled: defaults, and the table of samplers
    rendering  how embeddings are rendered: defaults, and the table of renderers
    groups     settings that several commands share
    commands   the settings of the commands that apply, compose and convert
    sharing    the settings of the commands that bring operators elsewhere
    shard      the share of one machine in work that several divide
    fields     declares a setting, and checks values
    progress   what long work tells, and bars on a terminal
    threads    how the threads of a CPU wait for work

Packages:
    flags  from a dataclass to the flags and the help of a command
"""
