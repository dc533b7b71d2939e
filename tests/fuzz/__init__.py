"""Try mutated inputs of every file format that pops reads, and count what goes wrong.

    python -m tests.fuzz --minutes 30 --seed 1
    python -m tests.fuzz --formats pictures,weights --minutes 5
    python -m tests.fuzz --formats pictures --only 1234      # one input again, with its traceback

Modules:
    mutate    changes of bytes, of JSON, and of the parts of file formats
    formats   a small valid folder of each format, and how pops reads it
    watch     what an input may not do: run code, touch other files, take much memory or time
    campaign  the loop, its counts and its table
"""
