"""Settings: frozen dataclasses that become flags, YAML files and help.

Modules:
    sampling   how operators are sampled: defaults, and the table of samplers
    rendering  how embeddings are rendered: defaults, and the table of renderers
    groups     settings that several commands share
    commands   the settings of the commands that apply, compose and convert
    sharing    the settings of the commands that bring operators elsewhere
    fields     declares a setting, and checks values
    values     reads and describes the values of each kind of setting
    reading    settings files, in which words stay words
    parsing    from a dataclass to a command line, with one line for every mistake
    output     standard output that undoes no work
    progress   what long work tells, and bars on a terminal
    threads    how the threads of a CPU wait for work
    shard      the share of one machine in work that several divide
"""
