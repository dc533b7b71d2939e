"""The machine: where models run, and the processes that work beside this one.

Modules:
    placement  the device, the number format, offloading and the memory of a device
    processes  worker processes that end with the process that started them
"""
