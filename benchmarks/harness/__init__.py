"""The harness: what several benchmarks need to measure, to compare and to report.

Modules:
    command           a benchmark as a command
    machine           this machine: cores, limits, memory, time
    page              tables that are written into a page of the documentation
    engines           the engines of data generation, compared
    datagen_settings  the settings of that comparison
"""
